import contextlib
import hashlib
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from sora_pipeline.advice import explained
from sora_pipeline.clip import Size
from sora_pipeline.media.fit import FittedImage, ImageFit, fit_image
from sora_pipeline.media.images import ImageError
from sora_pipeline_tests.media.conftest import encoded, opened, picture

SIZE = Size(72, 128)


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def fitted(content: bytes, fit: ImageFit = ImageFit.ERROR, size: Size = SIZE) -> FittedImage:
    result = fit_image(content, size, fit, name="cup.png")
    image = opened(result.content)
    assert image.size == (size.width, size.height) == (result.width, result.height)
    assert image.mode == "RGB"
    assert result.media_type == f"image/{image.format.lower()}"
    return result


def corners(content: bytes) -> list[str]:
    """The colours at the four corners, clockwise from the top left, rounded to the nearest of five."""
    image = opened(content)
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white", (0, 0, 0): "black"}
    right, bottom = image.width - 4, image.height - 4
    pixels = [image.getpixel(at) for at in ((3, 3), (right, 3), (right, bottom), (3, bottom))]
    return [names.get(tuple(round(value / 255) for value in pixel), str(pixel)) for pixel in pixels]


Look = Callable[[bytes], object]
LOOKS: list[Look] = [
    lambda content: fit_image(content, SIZE, ImageFit.CROP, name="cup.png"),
]
UPRIGHT = ["red", "green", "white", "blue"]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP"])
def test_a_plain_image_of_the_right_size_goes_byte_for_byte(format: str):
    content = encoded(picture(), format)

    assert fit_image(content, SIZE, ImageFit.ERROR) == FittedImage(
        content=content,
        media_type=f"image/{format.lower()}",
        width=72,
        height=128,
        original_width=72,
        original_height=128,
        original_format=format,
        original_sha256=hashlib.sha256(content).hexdigest(),
        action="as it is",
    )


@pytest.mark.parametrize("fit", list(ImageFit))
def test_no_setting_touches_an_image_that_fits(fit: ImageFit):
    assert fitted(encoded(picture()), fit).unchanged


def test_error_refuses_another_size_and_names_the_settings_that_would_help():
    with pytest.raises(ImageError) as caught:
        fitted(encoded(picture(100, 100)))

    assert "Image cup.png is 100x100, but its clip is 72x128" in caught.value.message
    assert "SORA_IMAGE_FIT=crop" in explained(caught.value)
    assert "pad" in explained(caught.value)
    assert "stretch" in explained(caught.value)
    assert not caught.value.transient


def test_crop_fills_the_frame_and_keeps_the_middle():
    wide = Image.new("RGB", (400, 128), "black")
    wide.paste(picture(), (164, 0))

    result = fitted(encoded(wide), ImageFit.CROP)

    assert corners(result.content) == UPRIGHT
    assert (result.action, result.original_width) == ("cropped from 400x128", 400)


def test_pad_shows_everything_between_black_bars():
    result = fitted(encoded(picture(128, 128)), ImageFit.PAD)

    assert corners(result.content) == ["black"] * 4
    assert corners(encoded(opened(result.content).crop((0, 28, 72, 100)))) == UPRIGHT
    assert result.action == "padded from 128x128"


def test_stretch_distorts():
    assert corners(fitted(encoded(picture(300, 40)), ImageFit.STRETCH).content) == UPRIGHT


@pytest.mark.parametrize("fit", [ImageFit.CROP, ImageFit.PAD, ImageFit.STRETCH])
@pytest.mark.parametrize("size", [(1, 1), (3000, 1), (1, 3000), (73, 128), (719, 1279)])
def test_any_proportions_can_be_fitted(fit: ImageFit, size: tuple[int, int]):
    fitted(encoded(Image.new("RGB", size, "red")), fit)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP"])
def test_a_turned_image_is_set_upright(orientation: int, format: str):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(picture().transpose(undo[orientation]), format, exif=exif)

    result = fitted(content)

    assert (result.original_width, result.original_height, result.original_format) == (72, 128, format)
    assert corners(result.content) == UPRIGHT
    assert result.action == "turned upright"
    assert not opened(result.content).getexif()


def test_exif_behind_the_pixels_of_a_png_counts():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(picture(128, 72))
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    content = plain[:-12] + chunk + plain[-12:]

    result = fitted(content)

    assert (result.original_width, result.original_height) == (72, 128)
    assert result.action == "turned upright"


def test_broken_exif_is_ignored():
    assert fitted(encoded(picture(), "JPEG", exif=b"Exif\0\0nonsense that is no TIFF")).unchanged


def test_transparency_is_laid_on_black():
    image = picture().convert("RGBA")
    image.paste((255, 255, 255, 0), (0, 64, 72, 128))

    result = fitted(encoded(image))

    assert corners(result.content) == ["red", "green", "black", "black"]
    assert result.action == "transparency laid on black"


def test_a_palette_with_transparency():
    image = picture().quantize(8)
    content = encoded(image, transparency=image.getpixel((0, 0)))

    assert corners(fitted(content).content) == ["black", "green", "white", "blue"]


def test_a_palette_whose_transparency_is_partial():
    image = picture().quantize(4)
    content = encoded(image, transparency=bytes([255, 0, 255, 255]))

    assert corners(fitted(content).content).count("black") == 1


def test_a_palette_becomes_rgb():
    result = fitted(encoded(picture().quantize(8)))

    assert corners(result.content) == UPRIGHT
    assert result.action == "converted to RGB"


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_becomes_rgb(mode: str):
    image = Image.new("L", (72, 128), 0)
    image.paste(255, (0, 0, 72, 64))

    assert corners(fitted(encoded(image.convert(mode))).content) == ["white", "white", "black", "black"]


def test_16_bit_grey_keeps_its_brightness():
    ramp = np.linspace(0, 65535, 128).astype("u2").repeat(72).reshape(128, 72)

    result = fitted(encoded(Image.fromarray(ramp)))

    assert opened(result.content).getpixel((9, 64)) == pytest.approx((128, 128, 128), abs=2)
    assert "reduced to 8 bits" in result.action


def test_16_bit_colour_is_reduced_although_the_size_fits():
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8080, 0) * 72
    header = struct.pack(">IIBBBBB", 72, 128, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * 128)), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )

    result = fitted(content)

    assert result.action == "reduced to 8 bits"
    assert opened(result.content).getpixel((9, 9)) == (255, 128, 0)


@pytest.mark.parametrize("fit", [ImageFit.ERROR, ImageFit.PAD])
def test_cmyk_becomes_rgb(fit: ImageFit):
    image = picture(*((72, 128) if fit is ImageFit.ERROR else (72, 64))).convert("CMYK")

    result = fitted(encoded(image, "JPEG"), fit)

    assert corners(result.content) == (UPRIGHT if fit is ImageFit.ERROR else ["black"] * 4)
    assert result.media_type == "image/jpeg"


def test_a_colour_profile_is_applied_and_not_passed_on():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    result = fitted(encoded(picture(144, 256), "JPEG", icc_profile=lab), ImageFit.CROP)

    assert corners(result.content) == UPRIGHT
    assert "icc_profile" not in opened(result.content).info


def test_a_broken_colour_profile_is_ignored():
    content = encoded(picture(144, 256), "JPEG", icc_profile=b"nonsense")

    assert corners(fitted(content, ImageFit.CROP).content) == UPRIGHT


@pytest.mark.parametrize("format", ["PNG", "WebP"])
def test_of_an_animation_the_first_picture_is_taken(format: str):
    later = [Image.new("RGB", (72, 128), colour) for colour in ("black", "white")]
    options = {"lossless": True} if format == "WebP" else {}
    content = encoded(picture(), format, save_all=True, append_images=later, duration=100, **options)

    result = fitted(content)

    assert corners(result.content) == UPRIGHT
    assert result.action == "first frame taken"


def test_a_photo_with_an_embedded_second_picture_is_a_jpeg():
    content = encoded(picture(), "MPO", save_all=True, append_images=[Image.new("RGB", (72, 128))])

    assert fit_image(content, SIZE, ImageFit.ERROR).original_format == "JPEG"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (encoded(picture(), "GIF"), "is GIF"),
        (encoded(picture(), "BMP"), "is BMP"),
        (encoded(picture(), "TIFF"), "is TIFF"),
        (b"\0\0\0\x18ftypavif" + bytes(50), "is AVIF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "is HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is SVG"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "is a web page"),
        (b'{"error": "not found"}', "is JSON"),
        (b"%PDF-1.7", "is PDF"),
        (b"words", "is of an unknown format"),
        (b"", "is empty (0 bytes)"),
    ],
)
@pytest.mark.parametrize("look", LOOKS)
def test_other_formats_are_refused_by_name_with_those_allowed(content: bytes, said: str, look: Look):
    with pytest.raises(ImageError) as caught:
        look(content)

    assert f"Image cup.png {said}" in caught.value.message
    assert "PNG, JPEG and WebP are allowed" in caught.value.message


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP"])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.2, 0.5, 0.9])
def test_a_cut_image_is_refused_even_where_its_size_fits(format: str, share: float):
    noise = np.random.default_rng(0).integers(0, 255, (128, 72, 3), dtype="u1")
    content = encoded(Image.fromarray(noise), format)

    with pytest.raises(ImageError, match=r"Image cup\.png is"):
        fitted(content[: max(1, int(len(content) * share))])


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WebP"])
def test_no_damage_gets_past_as_anything_but_an_image_problem(format: str):
    rng = np.random.default_rng(3)
    content = encoded(picture(), format)
    warnings.simplefilter("ignore")  # of Pillow's about damaged metadata
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(content), 3):
            damaged[at] = rng.integers(0, 256)
        with contextlib.suppress(ImageError):
            fit_image(bytes(damaged), SIZE, ImageFit.CROP)


def bomb(width: int, height: int) -> bytes:
    """A small PNG that claims to be huge."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize("size", [(10_000, 10_000), (30_000, 30_000), (2_000_000, 2_000_000)])
@pytest.mark.parametrize("look", LOOKS)
def test_a_decompression_bomb_is_refused_before_it_goes_off(size: tuple[int, int], look: Look):
    with pytest.raises(ImageError, match=r"at most 64 million are allowed|damaged PNG"):
        look(bomb(*size))


def test_a_bomb_in_a_text_chunk_is_not_unpacked():
    text = b"comment\0\0" + zlib.compress(bytes(20_000_000))
    plain = encoded(picture())
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))

    assert fit_image(plain[:33] + chunk + plain[33:], SIZE, ImageFit.ERROR).unchanged
    assert fitted(plain[:33] + chunk + plain[33:], ImageFit.CROP, Size(36, 64)).width == 36


def test_what_changed_a_jpeg_stays_a_jpeg_and_everything_else_becomes_png():
    assert fitted(encoded(picture(300, 300), "JPEG"), ImageFit.CROP).media_type == "image/jpeg"
    assert fitted(encoded(picture(300, 300), "WebP"), ImageFit.CROP).media_type == "image/png"


def test_fitting_is_deterministic():
    content = encoded(picture(300, 300), "JPEG")

    assert fitted(content, ImageFit.CROP) == fitted(content, ImageFit.CROP)
