import io

import pytest
from PIL import Image

from sora_pipeline.media.thumbnail import thumbnail
from sora_pipeline_tests.media.conftest import opened


def file(mode: str, size: tuple[int, int], image_format: str, color: object = 0, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, color).save(out, image_format, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("I;16", "PNG"),
        ("LA", "PNG"),
        ("RGB", "WEBP"),
    ],
)
def test_any_image_becomes_a_small_jpeg_in_its_proportions(mode: str, image_format: str):
    image = opened(thumbnail(file(mode, (1280, 720), image_format)))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (480, 270))


def test_a_small_image_is_not_enlarged():
    assert opened(thumbnail(file("RGB", (90, 160), "PNG"))).size == (90, 160)


def test_what_is_transparent_is_black_as_in_the_video():
    image = opened(thumbnail(file("RGBA", (64, 64), "PNG", (255, 0, 0, 0))))
    assert max(image.getpixel((32, 32))) < 10


def test_a_turned_photo_stands_upright():
    turned = Image.Exif()
    turned[0x0112] = 6
    assert opened(thumbnail(file("RGB", (400, 300), "JPEG", exif=turned.tobytes()))).size == (300, 400)


def test_too_many_pixels_are_refused_before_they_are_decoded():
    with pytest.raises(ValueError, match="too many for a thumbnail"):
        thumbnail(file("1", (9000, 9000), "PNG"))
