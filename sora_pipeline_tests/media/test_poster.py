import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from sora_pipeline.media.poster import LIMIT_BYTES, data_uri, poster_frame
from sora_pipeline_tests.media.conftest import opened, write_video


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
