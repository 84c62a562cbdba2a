"""One small JPEG that stands for a video: for a gallery, and for Markdown in the Dagster UI."""

import base64
import io
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media.frames import is_at, jpeg_of, place_in, scaled
from sora_pipeline.media.memory import DECODING
from sora_pipeline.media.probe import (
    HELD_BYTES_PER_PIXEL,
    VideoError,
    check_structure,
    opened,
    picture_stream,
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LIMIT_BYTES = 30_000  # event metadata live in Dagster's database, one poster for each clip
MOST_PIXELS = 4096 * 2304
"""A video of larger frames gets no poster of its own decoding."""
PLACE = 0.25
WIDTH = 320
_MOST_FRAMES = 600  # decoded on the way from a key frame to the place asked for
_TALLEST = 4  # times the width


class PosterError(SoraPipelineError):
    """Raised where a video has no frame that can be shown; says nothing about whether it is whole."""


@dataclass(slots=True)
class Poster:
    """The poster of a video, made of a frame that comes by while the video is verified.

    Attributes:
        jpeg: The poster; None where its frame has not come by, or cannot be shown.
    """

    jpeg: bytes | None = None
    _seen: bool = field(default=False, init=False)

    def watch(self, frame: "VideoFrame", stream: "VideoStream") -> None:
        """Make the poster of the first frame at its place; never raises, since a picture for people decides nothing."""
        with suppress(Exception):
            if not self._seen and is_at(frame, place_in(stream, PLACE)):
                self._seen = True
                self.jpeg = _small_jpeg(frame, WIDTH)

    def start_over(self) -> None:
        """Forget the poster: its video was damaged, and another copy is to be verified."""
        self.jpeg, self._seen = None, False


def poster_frame(path: Path, *, at: float = PLACE, width: int = WIDTH) -> bytes:
    """A frame of a video as JPEG, at most 30 kB: quality, and then size, go down until it is.

    Decodes up to that frame; where the video is verified anyway, ``Poster`` has it for less.

    Args:
        path: A local video that ``verify_video`` has accepted, or described.
        at: Where in the clip, as a fraction of its length: 0.0 the first frame, 1.0 the last.
        width: Pixels; a narrower video is not enlarged.

    Raises:
        PosterError: no frame can be shown, for whatever reason.
    """
    try:
        return _poster(path, min(max(at, 0.0), 1.0), width)
    except VideoError as error:
        raise PosterError(f"No poster can be made of {path.name}. {error.message}") from error
    except Exception as error:  # of PyAV and Pillow; a picture for people is worth no more trouble than this
        reason = f"{type(error).__name__}: {error}"[:200]
        raise PosterError(f"No poster can be made of {path.name}: {reason}") from error


def data_uri(picture: bytes, media_type: str = "image/jpeg") -> str:
    """The picture as a ``data:`` URI, for ``![](…)`` in Markdown."""
    return f"data:{media_type};base64,{base64.b64encode(picture).decode('ascii')}"


def tiny_uri(poster: bytes, most_chars: int) -> str | None:
    """The poster as a ``data:`` URI of so few characters, as WebP of hardly more than a hundred pixels; None: it does not fit.

    Raises:
        Exception: of Pillow, where it is no picture.
    """
    from PIL import Image

    with Image.open(io.BytesIO(poster)) as picture:
        for side in (128, 96, 64, 40):
            small = picture.convert("RGB")
            small.thumbnail((side, side))
            for quality in (30, 10):
                out = io.BytesIO()
                small.save(out, "WEBP", quality=quality, method=6)
                uri = data_uri(out.getvalue(), "image/webp")
                if len(uri) <= most_chars:
                    return uri
    return None


def _poster(path: Path, at: float, width: int) -> bytes:
    check_structure(path)
    with DECODING.reserve(MOST_PIXELS * HELD_BYTES_PER_PIXEL), opened(path, MOST_PIXELS) as container:
        stream = picture_stream(container)
        place = place_in(stream, at)
        container.seek(place, stream=stream)  # to the key frame before it
        chosen = None
        for frame in islice(container.decode(stream), _MOST_FRAMES):
            chosen = frame
            if is_at(frame, place):
                break
        if chosen is None:
            raise PosterError(f"{path.name} has no frame at {at:.0%}.")
        return _small_jpeg(chosen, width)


def _small_jpeg(frame: "VideoFrame", width: int) -> bytes:
    scale = min(1.0, width / frame.width, _TALLEST * width / frame.height)
    while True:
        picture = scaled(frame, max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
        for quality in (82, 70, 55, 40):
            jpeg = jpeg_of(picture, quality)
            if len(jpeg) <= LIMIT_BYTES:
                return jpeg
        scale *= 0.75
