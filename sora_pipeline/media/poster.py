"""One small JPEG that stands for a video: for a gallery, and for Markdown in the Dagster UI."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from PIL.Image import Image

LIMIT_BYTES = 30_000  # event metadata live in Dagster's database, one poster for each clip


def poster_frame(path: Path, *, at: float = 0.25, width: int = 320) -> bytes:
    """A frame of a video as JPEG, at most 30 kB: quality, and then size, go down until it is.

    Args:
        path: A local video that ``verify_video`` has accepted.
        at: Where in the clip, as a fraction of its length: 0.0 the first frame, 1.0 the last.
        width: Pixels; a narrower video is not enlarged.

    Raises:
        ValueError: there is no frame to show.
        av.error.FFmpegError: the file cannot be decoded.
    """
    picture = _frame(path, min(max(at, 0.0), 1.0))
    width = min(width, picture.width)
    while True:
        height = max(1, round(picture.height * width / picture.width))
        small = picture.resize((width, height))
        for quality in (82, 70, 55, 40):
            jpeg = _jpeg(small, quality)
            if len(jpeg) <= LIMIT_BYTES:
                return jpeg
        width = max(1, width * 3 // 4)


def data_uri(jpeg: bytes) -> str:
    """The JPEG as a ``data:`` URI, for ``![](…)`` in Markdown."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _frame(path: Path, at: float) -> "Image":
    import av

    with av.open(str(path.absolute()), format="mp4") as container:
        if not container.streams.video:
            raise ValueError(f"{path.name} has no picture")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start, length = stream.start_time or 0, stream.duration or 0
        target = start + int(length * at)
        container.seek(target, stream=stream)  # to the key frame before it
        chosen = None
        for frame in container.decode(stream):
            chosen = frame
            if frame.pts is None or frame.pts >= target:
                break
        if chosen is None:
            raise ValueError(f"{path.name} has no frame at {at:.0%}")
        # PyAV does not say that this is a PIL image.
        return cast("Image", chosen.to_image())  # type: ignore[no-untyped-call]


def _jpeg(picture: "Image", quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, optimize=True)
    return out.getvalue()
