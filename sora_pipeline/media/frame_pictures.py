"""The pictures that come of one pass over a video's frames while it is verified."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sora_pipeline.media.poster import Poster
from sora_pipeline.media.storyboard import Storyboard

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


@dataclass(frozen=True, slots=True)
class FramePictures:
    """A poster and a storyboard, made of the frames as they are decoded.

    Attributes:
        poster: One frame.
        storyboard: Several frames in a row.
    """

    poster: Poster = field(default_factory=Poster)
    storyboard: Storyboard = field(default_factory=Storyboard)

    def watch(self, frame: "VideoFrame", stream: "VideoStream") -> None:
        """Take from a frame what the pictures need of it; never raises."""
        self.poster.watch(frame, stream)
        self.storyboard.watch(frame, stream)

    def start_over(self) -> None:
        """Forget everything: the video was damaged, and another copy is to be verified."""
        self.poster.start_over()
        self.storyboard.start_over()
