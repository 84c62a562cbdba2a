"""One small JPEG that stands for a video: for a gallery, and for Markdown in the Dagster UI."""

import base64
import io
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media.memory import DECODING
from sora_pipeline.media.probe import (
    HELD_BYTES_PER_PIXEL,
    VideoError,
    check_structure,
    opened,
    picture_stream,
)

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT_BYTES = 30_000  # event metadata live in Dagster's database, one poster for each clip
MOST_PIXELS = 4096 * 2304
"""A video of larger frames gets no poster."""
_MOST_FRAMES = 600  # decoded on the way from a key frame to the place asked for
_TALLEST = 4  # times the width


class PosterError(SoraPipelineError):
    """Raised where a video has no frame that can be shown; says nothing about whether it is whole."""


def poster_frame(path: Path, *, at: float = 0.25, width: int = 320) -> bytes:
    """A frame of a video as JPEG, at most 30 kB: quality, and then size, go down until it is.

    Args:
        path: A local video that ``verify_video`` has accepted, or described.
        at: Where in the clip, as a fraction of its length: 0.0 the first frame, 1.0 the last.
        width: Pixels; a narrower video is not enlarged.

    Raises:
        PosterError: no frame can be shown, for whatever reason.
    """
    try:
        picture = _frame(path, min(max(at, 0.0), 1.0))
        return _small_jpeg(picture, width)
    except VideoError as error:
        raise PosterError(f"No poster can be made of {path.name}. {error.message}") from error
    except Exception as error:  # of PyAV and Pillow; a picture for people is worth no more trouble than this
        reason = f"{type(error).__name__}: {error}"[:200]
        raise PosterError(f"No poster can be made of {path.name}: {reason}") from error


def data_uri(jpeg: bytes) -> str:
    """The JPEG as a ``data:`` URI, for ``![](…)`` in Markdown."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _small_jpeg(picture: "Image", width: int) -> bytes:
    scale = min(1.0, width / picture.width, _TALLEST * width / picture.height)
    while True:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small = picture.resize(size)
        for quality in (82, 70, 55, 40):
            jpeg = _jpeg(small, quality)
            if len(jpeg) <= LIMIT_BYTES:
                return jpeg
        scale *= 0.75


def _frame(path: Path, at: float) -> "Image":
    check_structure(path)
    with DECODING.reserve(MOST_PIXELS * HELD_BYTES_PER_PIXEL), opened(path, MOST_PIXELS) as container:
        stream = picture_stream(container)
        start, length = stream.start_time or 0, stream.duration or 0
        target = start + int(length * at)
        container.seek(target, stream=stream)  # to the key frame before it
        chosen = None
        for frame in islice(container.decode(stream), _MOST_FRAMES):
            chosen = frame
            if frame.pts is None or frame.pts >= target:
                break
        if chosen is None:
            raise PosterError(f"{path.name} has no frame at {at:.0%}.")
        # PyAV does not say that this is a PIL image.
        return cast("Image", chosen.to_image())  # type: ignore[no-untyped-call]


def _jpeg(picture: "Image", quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()
