"""Images that are small as files and large in memory, many at a time, each test in a process of its own that is measured."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from sora_pipeline.clip import Size
from sora_pipeline.media.fit import ImageFit, fit_image
from sora_pipeline.media.images import ImageError
from sora_pipeline.media.memory import DECODING, MIB

WORKERS = 16
FITTING = """
import json, resource, sys
from concurrent.futures import ThreadPoolExecutor
from PIL import ImageCms, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from sora_pipeline.clip import Size
from sora_pipeline.media.fit import ImageFit
from sora_pipeline.media.fitted_images import FittedImages
from sora_pipeline.media.images import ImageError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def fit(path):
    try:
        return images.get(path, Size(72, 128), ImageFit.CROP).action
    except ImageError as problem:
        return problem.message

images, before = FittedImages(), peak()
with ThreadPoolExecutor(16) as threads:
    said = list(threads.map(fit, sys.argv[1:]))
print(json.dumps({"said": said, "bytes": peak() - before}))
"""


def fit_all(folder: Path, contents: list[bytes]) -> tuple[list[str], int]:
    """What became of each image, fitted by 16 threads of a new process, and how much that process grew."""
    paths = [folder / f"{number}.image" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    command = [sys.executable, "-c", FITTING, *map(str, paths)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    measured = json.loads(ended.stdout)
    return measured["said"], measured["bytes"]


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("format", "mode", "options"),
    [
        ("WEBP", "RGBA", {"lossless": True}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 0}),
        ("PNG", "RGBA", {}),
    ],
)
def test_all_workers_together_stay_below_the_bound(format: str, mode: str, options: dict, tmp_path: Path):
    content = encoded(Image.new(mode, (3600, 3600), "red"), format, **options)

    said, grown = fit_all(tmp_path, [content] * WORKERS)

    assert [action.endswith("cropped from 3600x3600") for action in said] == [True] * WORKERS
    assert grown < DECODING.limit_bytes + 200 * MIB


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*extra: bytes) -> bytes:
    """A picture with further chunks behind its header."""
    plain = encoded(Image.new("RGB", (72, 128), "red"), "PNG")
    return plain[:33] + b"".join(extra) + plain[33:]


def jpeg(*extra: bytes) -> bytes:
    """A picture with further segments at its beginning, and nothing that says its resolution."""
    plain = encoded(Image.new("RGB", (72, 128), "red"), "JPEG")
    return plain[:2] + b"".join(extra) + plain[20:]


def exif(entries: int, size: int) -> bytes:
    """Camera notes of which each entry is said to be all the others."""
    rows = b"".join(struct.pack("<HHII", 1000 + number, 7, size, 8) for number in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + rows + bytes(4)


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body


ZEROS = zlib.compress(bytes(900_000), 9)
SMALL_FILES = {
    "texts of a PNG": png(*(chunk(b"zTXt", b"k%d\0\0" % number + ZEROS) for number in range(60))),
    "international texts of a PNG": png(
        *(chunk(b"iTXt", b"k%d\0\1\0\0\0" % number + ZEROS) for number in range(60))
    ),
    "the profile of a PNG": png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(500_000_000), 9))),
    "camera notes of a PNG": png(chunk(b"eXIf", exif(60_000, 600_000))),
    "camera notes of a JPEG": jpeg(segment(0xE1, b"Exif\0\0" + exif(5000, 55_000))),
    "camera notes in many parts": jpeg(
        segment(0xE1, b"Exif\0\0" + exif(5000, 4_000_000)), *[segment(0xE1, b"Exif\0\0" + bytes(60_000))] * 80
    ),
    "comments of a JPEG": jpeg(*[segment(0xFE, bytes(65_000))] * 100),
    "empty segments of a JPEG": jpeg(*[segment(0xE5, b"")] * 90_000),
}


def test_what_is_not_pixels_is_not_unpacked(tmp_path: Path):
    said, grown = fit_all(tmp_path, [content for content in SMALL_FILES.values() for _ in range(4)])

    assert set(said) == {"as it is"}
    assert grown < 150 * MIB


def webp_canvas(width: int, height: int) -> bytes:
    """An animation whose frames are one pixel on a large canvas."""
    frames = [Image.new("RGBA", (16, 16), colour) for colour in ("red", "blue")]
    content = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    at = content.index(b"VP8X") + 12
    content[at : at + 6] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(content)


def jpeg_of(width: int, height: int, *, twice: bool = False) -> bytes:
    """A JPEG whose header was changed; twice: behind the true one."""
    content = encoded(Image.new("RGB", (72, 128)), "JPEG", progressive=True)
    at = content.index(b"\xff\xc2")
    header = bytearray(content[at : at + 19])
    header[5:9] = struct.pack(">HH", height, width)
    return content[: at + (19 if twice else 0)] + bytes(header) + content[at + 19 :]


def png_of(width: int, height: int, *, twice: bool = False) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    plain = encoded(Image.new("RGB", (72, 128)), "PNG")
    return plain[:33] + header + plain[33:] if twice else plain[:8] + header + plain[33:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (webp_canvas(16_384, 16_384), "at most 50 million are allowed in a WebP"),
        (webp_canvas(2**24, 1), "damaged"),  # few pixels, but no WebP is so wide
        (webp_canvas(2**24, 200), "at most 50 million are allowed in a WebP"),
        (jpeg_of(65_500, 65_500), "at most 64 million are allowed in a JPEG"),
        (jpeg_of(65_500, 65_500, twice=True), "it has two headers"),
        (png_of(2**31 - 1, 2**31 - 1), "at most 64 million are allowed in a PNG"),
        (png_of(8000, 8000, twice=True), "it has two headers that differ"),
        (png_of(64_000_000, 1), "damaged or cut off"),
        (png_of(0, 0), "damaged"),
        (jpeg_of(0, 128), "damaged"),
    ],
)
def test_what_a_header_claims_is_known_before_there_is_memory_for_it(content: bytes, said: str):
    with pytest.raises(ImageError, match=said):
        fit_image(content, Size(72, 128), ImageFit.CROP)
