"""A few frames of a video side by side in one small JPEG, made of frames that come by while the video is verified."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sora_pipeline.media.frames import is_at, jpeg_of, place_in, scaled

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)
HEIGHT, WIDTH = 144, 128
"""Of one frame, at most: the UI shows all of them side by side without a scroll bar."""
LIMIT_BYTES = 40_000
_GAP = 2


@dataclass(slots=True)
class Storyboard:
    """The storyboard of a video.

    Attributes:
        frames: What has come by so far, small.
    """

    frames: "list[Image]" = field(default_factory=list)
    _failed: bool = field(default=False, init=False)

    def watch(self, frame: "VideoFrame", stream: "VideoStream") -> None:
        """Take the first frame at each of its places; never raises, since a picture for people decides nothing."""
        if self._failed or len(self.frames) == len(PLACES):
            return
        with suppress(Exception):
            self._failed = True  # should it not get to the end: it is not tried again with each frame
            if is_at(frame, place_in(stream, PLACES[len(self.frames)])):
                self.frames.append(_small(frame))
            self._failed = False

    def start_over(self) -> None:
        """Forget the frames: their video was damaged, and another copy is to be verified."""
        self.frames, self._failed = [], False

    def strip(self) -> bytes:
        """Its frames in a row, as JPEG; at least one has come by."""
        return _strip(self.frames)


def _small(frame: "VideoFrame") -> "Image":
    scale = min(1.0, HEIGHT / frame.height, WIDTH / frame.width)
    return scaled(frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))


def _strip(frames: "list[Image]") -> bytes:
    from PIL import Image

    width = sum(frame.width + _GAP for frame in frames) - _GAP
    strip = Image.new("RGB", (width, max(frame.height for frame in frames)), "white")
    left = 0
    for frame in frames:
        strip.paste(frame, (left, 0))
        left += frame.width + _GAP
    for quality in (78, 60, 40):
        if len(jpeg := jpeg_of(strip, quality)) <= LIMIT_BYTES:
            break
    return jpeg
