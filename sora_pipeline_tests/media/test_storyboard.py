from pathlib import Path

import pytest

from sora_pipeline.clip import Size
from sora_pipeline.media import storyboard
from sora_pipeline.media.frame_pictures import FramePictures
from sora_pipeline.media.poster import poster_frame
from sora_pipeline.media.probe import VideoError, verify_video
from sora_pipeline.media.storyboard import HEIGHT, LIMIT_BYTES, PLACES, Storyboard
from sora_pipeline_tests.media.conftest import opened, write_video

SIZE = Size(320, 576)


def test_one_pass_makes_poster_and_storyboard(video: Path):
    made = FramePictures()
    verify_video(video, size=SIZE, duration=4, watch=made.watch)

    assert made.poster.jpeg == poster_frame(video)
    strip = opened(made.storyboard.strip())
    assert (strip.format, strip.height) == ("JPEG", HEIGHT)
    assert strip.width == len(PLACES) * 80 + (len(PLACES) - 1) * 2


def test_its_frames_are_of_different_places(video: Path):
    made = Storyboard()
    verify_video(video, size=SIZE, duration=4, watch=made.watch)

    assert len({frame.tobytes() for frame in made.frames}) == len(PLACES)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (64, 576), (1280, 64)])
def test_any_shape_and_even_noise_stays_small(tmp_path: Path, width: int, height: int):
    path = write_video(tmp_path / "odd.mp4", width=width, height=height, seconds=1, noise=True)
    made = Storyboard()
    verify_video(path, size=Size(width, height), duration=1, watch=made.watch)

    strip = made.strip()
    assert len(strip) <= LIMIT_BYTES
    assert opened(strip).height <= HEIGHT


def test_a_storyboard_that_cannot_be_made_fails_no_video(video: Path, monkeypatch: pytest.MonkeyPatch):
    tried = []

    def odd(*_: object) -> None:
        tried.append(1)
        raise ValueError("a peculiar picture")

    monkeypatch.setattr(storyboard, "_small", odd)
    made = Storyboard()

    assert verify_video(video, size=SIZE, duration=4, watch=made.watch).frames == 96
    assert made.frames == []
    assert len(tried) == 1, "it is not tried again with each frame"


def test_a_storyboard_forgets_the_copy_that_was_damaged(video: Path, tmp_path: Path):
    other = write_video(tmp_path / "other.mp4", seconds=4, noise=True)
    made, alone = FramePictures(), Storyboard()
    verify_video(other, size=SIZE, duration=4, watch=made.watch)
    made.start_over()
    verify_video(video, size=SIZE, duration=4, watch=made.watch)
    verify_video(video, size=SIZE, duration=4, watch=alone.watch)

    assert made.storyboard.strip() == alone.strip()


def test_a_video_of_another_length_has_one_too(video: Path):
    made = Storyboard()
    with pytest.raises(VideoError, match="lasts 4 s"):
        verify_video(video, size=SIZE, duration=8, watch=made.watch)

    assert len(made.frames) == len(PLACES)
