"""What an image file is made of, read from its headers alone: how many pixels it has, and what it says about them.

Pillow parses every text, preview and camera note of a file before it is asked for the pixels, and a small file can make those very
large. It is given the parts that pixels are decoded from and nothing else; what we need of the rest is read here.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MOST_PARTS = 100_000
"""Chunks or segments that are walked; PNGs of 50 MB that are cut into chunks of a kilobyte have half as many."""
MOST_PROFILE_BYTES = 4 * 2**20
"""Larger colour profiles are ignored; those of printers have up to three megabytes."""

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
# Every application's own segment and comments; JFIF and Adobe say how colours are coded.
_JPEG_NOTES = (frozenset(range(0xE0, 0xF0)) | {0xFE}) - {0xE0, 0xEE}
_EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class ImageParts:
    """An image file, taken apart.

    Attributes:
        width: Pixels, as the file says.
        height: Pixels, as the file says.
        bytes_per_pixel: What decoding it and making it plain takes at its peak, measured with Pillow 13.
        pixels: The file without what is not needed to decode its pixels.
        profile: The embedded colour profile.
        orientation: How it is to be turned, 1 to 8 as in EXIF; 1: it is upright, or says nothing that makes sense.
    """

    width: int
    height: int
    bytes_per_pixel: int
    pixels: bytes
    profile: bytes | None = None
    orientation: int = 1


def take_apart(content: bytes, image_format: str) -> ImageParts:
    """Read the headers of a PNG, JPEG or WebP.

    Raises:
        ValueError: it ends before it says how large it is, or has no end of parts.
    """
    return {"PNG": _png, "JPEG": _jpeg, "WebP": _webp}[image_format](content)


def _png(content: bytes) -> ImageParts:
    if content[12:16] != b"IHDR" or len(content) < 33:
        raise ValueError("it has no header")
    kept, profile, orientation = [_PNG_START], None, 1
    for kind, start, body, end in _png_chunks(content):
        if kind in _PNG_PIXELS:
            kept.append(content[start:end])
        elif kind == b"iCCP" and profile is None:
            profile = _inflated(content[body : end - 4].partition(b"\0")[2][1:])
        elif kind == b"eXIf" and orientation == 1:
            orientation = _orientation(content[body : end - 4])
        if kind == b"IHDR" and content[body : body + 8] != content[16:24]:
            raise ValueError("it has two headers that differ")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    # Four for the decoded pixels, four for the plain ones made of them or for those turned upright.
    return ImageParts(width, height, 9, b"".join(kept), profile, orientation)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Kind, start, start of the body, and end of each chunk; the last may be cut off."""
    start = len(_PNG_START)
    for _ in range(MOST_PARTS):
        if start + 8 > len(content):
            return
        length, kind = int.from_bytes(content[start : start + 4]), content[start + 4 : start + 8]
        yield kind, start, start + 8, start + 12 + length
        start += 12 + length
        if kind == b"IEND":
            return
    raise ValueError(f"it has more than {MOST_PARTS} parts")


def _inflated(data: bytes) -> bytes | None:
    unpacker = zlib.decompressobj()
    try:
        profile = unpacker.decompress(data, MOST_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if unpacker.eof else None


def _jpeg(content: bytes) -> ImageParts:
    kept, profiles, orientation = [content[:2]], list[bytes](), 1
    frame: tuple[int, bytes] | None = None
    for marker, start, body, end in _jpeg_segments(content):
        if marker == _SCAN and frame is not None:
            kept.append(content[start:])
            return _jpeg_parts(frame, content[body : body + 1], kept, profiles, orientation)
        if marker in _FRAMES:
            if frame is not None:
                raise ValueError("it has two headers")
            frame = marker, content[body:end]
        if marker == 0xE1 and orientation == 1 and content[body : body + 6] == b"Exif\0\0":
            orientation = _orientation(content[body + 6 : end])
        elif marker == 0xE2 and content[body : body + 12] == b"ICC_PROFILE\0":
            profiles.append(content[body + 12 : end])
        if marker not in _JPEG_NOTES:
            kept.append(content[start:end])
    raise ValueError("it has no header")


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Marker, start, start of the body, and end of each segment; bytes between segments are passed over."""
    at = 2
    for _ in range(MOST_PARTS):
        start = content.find(b"\xff", at)
        while start >= 0 and content[start + 1 : start + 2] == b"\xff":
            start += 1  # padding
        if start < 0 or start + 4 > len(content):
            return
        marker = content[start + 1]
        if marker == 0 or marker in _ALONE:
            at = start + 2
            continue
        at = start + 2 + max(2, int.from_bytes(content[start + 2 : start + 4]))
        yield marker, start, start + 4, at
    raise ValueError(f"it has more than {MOST_PARTS} parts")


def _jpeg_parts(
    frame: tuple[int, bytes], scan: bytes, kept: list[bytes], profiles: list[bytes], orientation: int
) -> ImageParts:
    marker, header = frame
    if len(header) < 6:
        raise ValueError("its header is cut off")
    height, width, components = int.from_bytes(header[1:3]), int.from_bytes(header[3:5]), header[5]
    # In several passes: the coefficients of all of it are kept, two bytes each.
    several = marker not in {0xC0, 0xC1} or int.from_bytes(scan) < components
    turned = 4 if orientation != 1 else 0
    per_pixel = 5 + max(2 * components if several else 0, turned)
    return ImageParts(width, height, per_pixel, b"".join(kept), _joined(profiles), orientation)


def _joined(profiles: list[bytes]) -> bytes | None:
    """A colour profile is cut into segments that count themselves."""
    profiles = sorted(profiles)
    if not profiles or profiles[0][1:2] != bytes([len(profiles) & 0xFF]):
        return None
    whole = b"".join(part[2:] for part in profiles)
    return whole if len(whole) <= MOST_PROFILE_BYTES else None


def _webp(content: bytes) -> ImageParts:
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        raise ValueError("it has no header")
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    elif kind == b"VP8L":
        packed = int.from_bytes(body[1:5], "little")
        width, height = 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width = int.from_bytes(body[6:8], "little") & 0x3FFF
        height = int.from_bytes(body[8:10], "little") & 0x3FFF
    else:
        raise ValueError("it has no header")
    profile = exif = None
    for name, start, end in _riff_chunks(content):
        if name == b"ICCP":
            profile = content[start : min(end, start + MOST_PROFILE_BYTES + 1)]
        elif name == b"EXIF":
            exif = content[start:end].removeprefix(b"Exif\0\0")
    if profile is not None and len(profile) > MOST_PROFILE_BYTES:
        profile = None
    # Two canvases of the decoder, the picture it hands over, Pillow's own, and the plain one made of it.
    return ImageParts(width, height, 20, content, profile, _orientation(exif or b""))


def _riff_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk's body."""
    start = 12
    for _ in range(MOST_PARTS):
        if start + 8 > len(content):
            return
        length = int.from_bytes(content[start + 4 : start + 8], "little")
        yield content[start : start + 4], start + 8, start + 8 + length
        start += 8 + length + length % 2
    raise ValueError(f"it has more than {MOST_PARTS} parts")


def _orientation(exif: bytes) -> int:
    """Looked up in the first directory of a TIFF structure; nothing else of it is read."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(exif[:4])
    if order is None:
        return 1  # a camera's broken EXIF is no reason to refuse its picture

    def number(at: int, width: int) -> int:
        return int.from_bytes(exif[at : at + width], "little" if order == "little" else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(exif):
            break
        if number(entry, 2) == _EXIF_ORIENTATION:
            width = {1: 1, 3: 2, 4: 4}.get(number(entry + 2, 2), 0)
            value = number(entry + 8, width)
            return value if 1 <= value <= 8 else 1
    return 1
