"""A small JPEG of an image, for people who look at what a clip begins with."""

import io

from sora_pipeline.media.fit import MAX_PIXELS
from sora_pipeline.media.memory import DECODING

_BYTES_PER_PIXEL = 8  # decoded, and once more upright or without transparency


def thumbnail(content: bytes, *, side: int = 480) -> bytes:
    """The image upright and without transparency, no side longer than ``side``; smaller ones are not enlarged.

    Args:
        content: A file that was accepted as an input image before.
        side: Pixels.

    Raises:
        ValueError: it has too many pixels, or is none that Pillow can read.
    """
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        if image.width * image.height > min(MAX_PIXELS.values()):
            raise ValueError(f"{image.width} x {image.height} pixels are too many for a thumbnail")
        image.draft("RGB", (side, side))  # a JPEG is not decoded larger than need be
        with DECODING.reserve(image.width * image.height * _BYTES_PER_PIXEL):
            upright = ImageOps.exif_transpose(image)
            small = upright.convert(
                "RGBA" if "transparency" in upright.info or "A" in upright.mode else "RGB"
            )
            small.thumbnail((side, side))
            flat = Image.new("RGB", small.size)
            flat.paste(small, mask=small if small.mode == "RGBA" else None)
    out = io.BytesIO()
    flat.save(out, "JPEG", quality=80)
    return out.getvalue()
