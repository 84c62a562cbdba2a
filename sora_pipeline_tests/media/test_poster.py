import base64
import io
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image, ImageChops

from sora_pipeline.clip import Size
from sora_pipeline.media import frames, poster
from sora_pipeline.media.poster import LIMIT_BYTES, Poster, data_uri, poster_frame
from sora_pipeline.media.probe import VideoError, verify_video
from sora_pipeline_tests.media.conftest import opened, write_video

SIZE = Size(320, 576)


def test_a_poster_is_a_small_jpeg_in_the_clips_proportions(video: Path):
    jpeg = poster_frame(video)

    image = opened(jpeg)
    assert (image.format, image.size) == ("JPEG", (320, 576))
    assert len(jpeg) <= LIMIT_BYTES


def test_even_noise_stays_below_the_limit(tmp_path: Path):
    path = write_video(tmp_path / "noise.mp4", width=640, height=1152, seconds=0.5, noise=True)

    jpeg = poster_frame(path, width=640)

    assert len(jpeg) <= LIMIT_BYTES
    width, height = opened(jpeg).size
    assert width / height == pytest.approx(640 / 1152, abs=0.02)


def test_a_narrow_video_is_not_enlarged(video: Path):
    assert opened(poster_frame(video, width=1000)).width == 320


@pytest.mark.parametrize("at", [-1.0, 0.0, 0.5, 1.0, 7.0])
def test_any_place_in_the_clip_has_a_frame(video: Path, at: float):
    assert opened(poster_frame(video, at=at)).size == (320, 576)


def test_the_frame_comes_from_the_place_asked_for(video: Path):
    assert poster_frame(video, at=0.0) != poster_frame(video, at=0.5)


def test_a_poster_as_data_uri(video: Path):
    jpeg = poster_frame(video, width=32)
    head, _, body = data_uri(jpeg).partition(",")

    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(body))).format == "JPEG"


@pytest.mark.parametrize("layout", ["video", "faststart_video"])
def test_verification_leaves_the_same_poster_as_a_look_of_its_own(
    layout: str, request: pytest.FixtureRequest
):
    path, made = request.getfixturevalue(layout), Poster()
    verify_video(path, size=SIZE, duration=4, watch=made.watch)

    assert made.jpeg == poster_frame(path)


def test_a_whole_video_of_another_length_has_its_poster_from_verification(video: Path):
    made = Poster()
    with pytest.raises(VideoError, match="lasts 4 s, 8 s were asked for"):
        verify_video(video, size=SIZE, duration=8, watch=made.watch)

    assert made.jpeg == poster_frame(video)


def test_a_poster_that_cannot_be_made_fails_no_video(video: Path, monkeypatch: pytest.MonkeyPatch):
    tried = []

    def odd(*_: object) -> bytes:
        tried.append(1)
        raise ValueError("a peculiar picture")

    monkeypatch.setattr(poster, "_small_jpeg", odd)
    made = Poster()

    assert verify_video(video, size=SIZE, duration=4, watch=made.watch).frames == 96
    assert made.jpeg is None
    assert len(tried) == 1, "it is not tried again with each frame"


def test_a_poster_forgets_the_copy_that_was_damaged(video: Path, tmp_path: Path):
    other = write_video(tmp_path / "other.mp4", seconds=4, noise=True)
    made = Poster()
    verify_video(other, size=SIZE, duration=4, watch=made.watch)
    made.start_over()
    assert made.jpeg is None
    verify_video(video, size=SIZE, duration=4, watch=made.watch)

    assert made.jpeg == poster_frame(video)


FLAGS = hasattr(Interpolation, "ACCURATE_RND")
"""Whether this PyAV can be asked for exactness; an older one has the frame scaled by Pillow."""


@pytest.mark.skipif(not FLAGS, reason="this PyAV scales frames in no better way")
def test_a_poster_is_nearer_to_the_frame_than_one_that_is_scaled_after_its_colours_were_converted(
    tmp_path: Path,
):
    path = write_video(tmp_path / "clip.mp4", width=720, height=1280, seconds=0.5)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    interpolation = (
        Interpolation.BICUBIC
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
    )
    exact = frame.to_ndarray(format="rgb24", interpolation=interpolation)
    small = (320, 569)
    wanted = Image.fromarray(exact).resize(small, Image.Resampling.LANCZOS)

    scaled_after = frame.to_image().resize(small)
    assert _distance(frames.scaled(frame, *small), wanted) < 0.5 * _distance(scaled_after, wanted)


def _distance(one: Image.Image, other: Image.Image) -> float:
    difference = np.asarray(ImageChops.difference(one, other), "f4")
    return float(np.sqrt(np.mean(difference**2)))
