"""Damaged copies of real images: whatever the bytes are, it is a first frame or an error that says why not."""

import io
import warnings
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from sora_pipeline.clip import Size
from sora_pipeline.media.fit import ImageFit, fit_image
from sora_pipeline.media.images import ImageError
from sora_pipeline_tests.attacks.mutation import BUDGET, damaged
from sora_pipeline_tests.media.conftest import encoded, picture

EXAMPLES = Path(__file__).parents[2] / "data" / "images"
SIZE = Size(36, 64)


def small(path: Path) -> bytes:
    """An example as its format has it, small enough for many."""
    image = Image.open(path)
    image.thumbnail((200, 200))
    return encoded(image, image.format or "PNG")


@pytest.fixture(scope="module")
def seeds() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    later = [Image.new("RGB", (72, 128), colour) for colour in ("black", "white")]
    noted = {"exif": exif, "icc_profile": profile}
    grey16 = io.BytesIO()
    Image.new("I;16", (40, 40), 30_000).save(grey16, "PNG")
    return {
        **{path.name: small(path) for path in sorted(EXAMPLES.iterdir())},
        "noted.png": encoded(picture(), "PNG", **noted),
        "noted.jpg": encoded(picture(), "JPEG", progressive=True, **noted),
        "noted.webp": encoded(picture(), "WebP", lossless=True, **noted),
        "clear.png": encoded(picture().convert("RGBA").resize((40, 40)), "PNG"),
        "clear.webp": encoded(picture().convert("RGBA").resize((40, 40)), "WebP"),
        "palette.png": encoded(picture().quantize(8), "PNG", transparency=0),
        "moving.png": encoded(picture(), "PNG", save_all=True, append_images=later),
        "moving.webp": encoded(picture(), "WebP", save_all=True, append_images=later),
        "printed.jpg": encoded(picture().convert("CMYK"), "JPEG"),
        "grey.png": grey16.getvalue(),
    }


@pytest.mark.filterwarnings("ignore")  # Pillow's about damaged metadata
@pytest.mark.timeout(0 if BUDGET > 1000 else 240)
def test_a_damaged_image_is_a_first_frame_or_an_image_error(seeds: dict[str, bytes], tmp_path: Path):
    outcomes: Counter[str] = Counter()
    for name, content in damaged(seeds, BUDGET, seed=1):
        (tmp_path / "damaged").write_bytes(content)  # stays there when the process dies of it
        (tmp_path / "name.txt").write_text(name)
        try:
            fitted = fit_image(content, SIZE, ImageFit.CROP)
        except ImageError:
            outcomes["refused"] += 1
            continue
        except Exception as error:
            raise AssertionError(name) from error
        outcomes["fitted"] += 1
        with warnings.catch_warnings(), Image.open(io.BytesIO(fitted.content)) as shown:
            warnings.simplefilter("ignore")
            assert shown.size == (SIZE.width, SIZE.height), name

    print(dict(outcomes))
    assert sum(outcomes.values()) == BUDGET
