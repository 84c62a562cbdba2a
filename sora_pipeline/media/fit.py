"""Makes an image exactly as large as the clip it begins, because providers refuse any other size.

Knows bytes and pixels; where the bytes come from is ``images``' business. How many pixels there are is known before any is decoded,
and whoever decodes waits until there is memory for them.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from typing import IO, TYPE_CHECKING

from sora_pipeline.clip import Size
from sora_pipeline.media.image_files import ImageParts, take_apart
from sora_pipeline.media.images import ImageError
from sora_pipeline.media.memory import DECODING
from sora_pipeline.media.signature import format_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = {"PNG": 64_000_000, "JPEG": 64_000_000, "WebP": 50_000_000}
"""So many that each alone fits the memory for decoding; WebP takes twice as much of it as the others."""
ALLOWED = "PNG, JPEG and WebP"
_TILE = 1024  # pixels a side
_PROFILES = Lock()
"""Held while a colour profile is applied: LittleCMS takes as much memory for it as the profile says, so one at a time."""
_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WebP": "image/webp"}


class ImageFit(StrEnum):
    """What to do with an image that is not as large as its clip."""

    ERROR = "error"  # refuse it
    CROP = "crop"  # fill the frame, cut off what stands out, keep the middle
    PAD = "pad"  # show all of it, black bars around
    STRETCH = "stretch"  # distort it


@dataclass(frozen=True, slots=True)
class FittedImage:
    """A first frame ready to be sent.

    Attributes:
        content: The bytes to send.
        media_type: For example ``image/png``.
        width: Pixels, as asked for.
        height: Pixels, as asked for.
        original_width: Pixels of the original, upright.
        original_height: Pixels of the original, upright.
        original_format: ``PNG``, ``JPEG`` or ``WebP``.
        original_sha256: Hex hash of the original's bytes, to be compared with the manifest's.
        action: What was done, for people: ``as it is`` where ``content`` is the original.
    """

    content: bytes
    media_type: str
    width: int
    height: int
    original_width: int
    original_height: int
    original_format: str
    original_sha256: str
    action: str

    @property
    def unchanged(self) -> bool:
        """Whether the bytes are the original's, so that its URL may be sent instead."""
        return self.action == "as it is"


def fit_image(content: bytes, size: Size, fit: ImageFit, *, name: str = "the image") -> FittedImage:
    """Make an image exactly ``size``: upright, 8-bit RGB without transparency, first picture of an animation.

    Transparency is laid on black, which is also the colour of the bars that ``pad`` adds: a video has no
    transparency, and black is what it shows where there is nothing. Embedded colour profiles are converted to sRGB.
    JPEG stays JPEG (quality 95); everything else that has to change becomes PNG. A plain 8-bit RGB image that
    already fits is not touched at all.

    Args:
        content: The file's bytes; what they are decides, not the file's name.
        size: Pixels.
        fit: What to do where the size differs.
        name: How messages call the image.

    Raises:
        ImageError: not a readable PNG, JPEG or WebP, too many pixels, or another size where ``fit`` is ``error``.
    """
    image_format = _format(content, name)
    try:
        parts = take_apart(content, image_format)
    except ValueError as error:
        raise ImageError(f"Image {name} is a damaged {image_format}: {error}.") from error
    _require_few_pixels(parts.width, parts.height, image_format, name)
    done: list[str] = []
    with DECODING.reserve(parts.width * parts.height * parts.bytes_per_pixel):
        picture = _decoded(parts, image_format, name, done)
        try:
            if parts.orientation != 1:
                picture = _instead(picture, _turned(picture, parts.orientation))
                done.append("turned upright")
            original = Size(*picture.size)
            if original != size:
                if fit is ImageFit.ERROR:
                    raise ImageError(_mismatch(name, original, size), code="image_size")
                picture = _instead(picture, _resized(picture, size, fit))
                done.append(f"{_VERBS[fit]} from {original}")
            fitted, media_type = (
                _encoded(picture, image_format, parts.profile)
                if done
                else (content, _MEDIA_TYPES[image_format])
            )
        except (OSError, ValueError, MemoryError) as error:
            raise ImageError(f"Image {name} could not be converted: {error}.") from error
    return FittedImage(
        content=fitted,
        media_type=media_type,
        width=size.width,
        height=size.height,
        original_width=original.width,
        original_height=original.height,
        original_format=image_format,
        original_sha256=hashlib.sha256(content).hexdigest(),
        action=", ".join(done) or "as it is",
    )


_VERBS = {ImageFit.CROP: "cropped", ImageFit.PAD: "padded", ImageFit.STRETCH: "stretched"}


def _mismatch(name: str, actual: Size, wanted: Size) -> str:
    return f"Image {name} is {actual}, but its clip is {wanted}, and providers accept no other size."


def _format(content: bytes, name: str) -> str:
    if not content:
        raise ImageError(f"Image {name} is empty (0 bytes); {ALLOWED} are allowed.")
    image_format = format_of(content)
    if image_format not in MAX_PIXELS:
        what = "of an unknown format" if image_format == "unknown" else f"{image_format}"
        raise ImageError(f"Image {name} is {what}; {ALLOWED} are allowed.")
    return image_format


def _require_few_pixels(width: int, height: int, image_format: str, name: str) -> None:
    most = MAX_PIXELS[image_format]
    if width * height > most:
        raise ImageError(
            f"Image {name} is {width}x{height}, {width * height / 1e6:.0f} million pixels; "
            f"at most {most / 1e6:.0f} million are allowed in a {image_format}."
        )


def _decoded(parts: ImageParts, image_format: str, name: str, done: list[str]) -> "Image":
    """The first picture as ``_plain`` makes it; what Pillow needed for it is given back."""
    # The classes themselves instead of Image.open: Image.open answers a decompression bomb with a warning that only
    # process-wide settings can silence, and takes a photo with an embedded preview for a format of its own (MPO).
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.PngImagePlugin import PngImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    classes: dict[str, Callable[[IO[bytes]], ImageFile]] = {
        "PNG": PngImageFile,
        "JPEG": JpegImageFile,
        "WebP": WebPImageFile,
    }
    try:
        image = classes[image_format](io.BytesIO(parts.pixels))
    except Exception as error:  # damaged headers raise nearly anything
        raise ImageError(f"Image {name} is a damaged {image_format}: {error}.") from error
    with image:
        if image.size != (parts.width, parts.height):
            sizes = f"{parts.width}x{parts.height} and {image.width}x{image.height}"
            raise ImageError(f"Image {name} is a damaged {image_format}: it says that it is {sizes}.")
        try:
            image.load()
        except Exception as error:  # damaged data raise nearly anything
            raise ImageError(f"Image {name} is damaged or cut off: {error}.") from error
        try:
            return _plain(image, parts.pixels, done)
        except (OSError, ValueError, MemoryError) as error:
            raise ImageError(f"Image {name} could not be converted: {error}.") from error


def _turned(picture: "Image", orientation: int) -> "Image":
    from PIL.Image import Transpose

    turn = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return picture.transpose(turn[orientation])


def _plain(image: "ImageFile", content: bytes, done: list[str]) -> "Image":
    """The first picture without transparency and with 8 bits a channel, in mode L, RGB or CMYK."""
    picture: Image = image
    if getattr(image, "is_animated", False):
        done.append("first frame taken")
    if picture.mode.startswith("I"):
        picture = _instead(picture, _converted(picture, "L", _reduced_to_8_bits))
        done.append("reduced to 8 bits")
    elif image.format == "PNG" and content[24] == 16:  # Pillow has reduced it already
        done.append("reduced to 8 bits")
    if picture.has_transparency_data:
        picture = _instead(picture, _converted(picture, "RGB", _on_black))
        done.append("transparency laid on black")
    if picture.mode not in {"L", "RGB", "CMYK"}:
        mode = "L" if picture.mode == "1" else "RGB"
        picture = _instead(picture, _converted(picture, mode, lambda tile: tile.convert(mode)))
        done.append("converted to RGB")
    elif picture.mode != "RGB":
        done.append("converted to RGB")  # by _encoded, which has the colour profile
    return picture


def _instead(picture: "Image", made_of_it: "Image") -> "Image":
    """The second for the first, whose memory is given back now: Pillow's objects refer to each other."""
    picture.close()
    return made_of_it


def _converted(picture: "Image", mode: str, convert: Callable[["Image"], "Image"]) -> "Image":
    """A picture converted tile by tile, so that steps in between take memory for one tile only."""
    from PIL import Image

    converted = Image.new(mode, picture.size)
    for top in range(0, picture.height, _TILE):
        for left in range(0, picture.width, _TILE):
            box = (left, top, min(left + _TILE, picture.width), min(top + _TILE, picture.height))
            converted.paste(convert(picture.crop(box)), box)
    return converted


def _reduced_to_8_bits(tile: "Image") -> "Image":
    return tile.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def _on_black(tile: "Image") -> "Image":
    from PIL import Image

    upper = tile.convert("RGBA")
    ground = Image.new("RGBA", upper.size, (0, 0, 0, 255))
    return Image.alpha_composite(ground, upper).convert("RGB")


def _resized(picture: "Image", size: Size, fit: ImageFit) -> "Image":
    from PIL import Image, ImageOps

    target = (size.width, size.height)
    if fit is ImageFit.STRETCH:
        return picture.resize(target, Image.Resampling.LANCZOS)
    if fit is ImageFit.CROP:
        return ImageOps.fit(picture, target, Image.Resampling.LANCZOS)
    scale = min(size.width / picture.width, size.height / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    black = (0, 0, 0, 255) if picture.mode == "CMYK" else 0
    padded = Image.new(picture.mode, target, black)
    corner = ((size.width - inner[0]) // 2, (size.height - inner[1]) // 2)
    padded.paste(picture.resize(inner, Image.Resampling.LANCZOS), corner)
    return padded


def _encoded(picture: "Image", image_format: str, profile: bytes | None) -> tuple[bytes, str]:
    picture = _srgb(picture, profile)
    out = io.BytesIO()
    if image_format == "JPEG":
        picture.save(out, "JPEG", quality=95, subsampling=0)
        return out.getvalue(), "image/jpeg"
    picture.save(out, "PNG", compress_level=6)
    return out.getvalue(), "image/png"


def _srgb(picture: "Image", profile: bytes | None) -> "Image":
    from PIL import ImageCms

    if profile:
        try:
            with _PROFILES:
                converted = ImageCms.profileToProfile(
                    picture,
                    ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                    ImageCms.createProfile("sRGB"),
                    outputMode="RGB",
                )
            return _without_info(converted)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a damaged profile, or one for another kind of colour than the pixels are
    return _without_info(picture.convert("RGB"))


def _without_info(picture: "Image | None") -> "Image":
    # Otherwise the old profile, EXIF or comments would be written into the new file.
    assert picture is not None  # only in-place conversion returns None
    picture.info.clear()
    return picture
