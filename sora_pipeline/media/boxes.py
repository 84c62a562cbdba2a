"""The outer structure of an MP4 file: a row of boxes, each with a length and a name. Decodes nothing.

Sizes and counts are whatever the file says, so everything here takes time and memory by the file's length alone.
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_C2PA = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
MOST_BOXES = 20_000
"""Boxes at top level that are walked; 12 s in fragments of one frame each, 120 a second, are 2,880."""
MOST_TABLE_BYTES = 16 * 2**20
"""Bytes of tables that are looked into; those of 12 s are some tens of kilobytes, a cover picture included a few megabytes."""
_DEEPEST = 16
# Offset of the count in those boxes whose count, not their length, decides how much memory a demuxer takes.
_SAMPLES = {b"stsz": 8, b"stz2": 8, b"trun": 4}
_CONTAINERS = frozenset(
    {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"udta", b"meta", b"mvex", b"moof", b"traf"}
)
_KNOWN = frozenset(
    {b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"uuid", b"meta", b"sidx", b"jumb"}
)


@dataclass(frozen=True, slots=True)
class Box:
    """One top-level box.

    Attributes:
        kind: Four bytes, for example ``b"moov"``.
        start: Offset in the file, bytes.
        size: Header included, bytes, as the header says.
        extended_kind: The UUID of a ``uuid`` box, empty for others.
        complete: Whether the file is long enough to hold it.
    """

    kind: bytes
    start: int
    size: int
    extended_kind: bytes
    complete: bool

    @property
    def is_c2pa(self) -> bool:
        """Whether it holds C2PA provenance."""
        return self.kind == b"jumb" or self.extended_kind == _C2PA

    @property
    def is_known(self) -> bool:
        """Whether MP4 files have such a box at top level; otherwise it may be padding behind the last one."""
        return self.kind in _KNOWN


def looks_like_mp4(head: bytes) -> bool:
    """Whether a file that begins with these bytes (12 are enough) is an MP4: its first box is ``ftyp``."""
    return len(head) >= 8 and head[4:8] == b"ftyp" and int.from_bytes(head[:4]) >= 8


def top_level_boxes(path: Path) -> Iterator[Box]:
    """Walk the boxes of a file to its end, to the first that is nonsense, or to one more than ``MOST_BOXES``."""
    end = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        for _ in range(MOST_BOXES + 1):
            if start + 8 > end:
                return
            file.seek(start)
            head = file.read(32)
            size, kind, body = int.from_bytes(head[:4]), head[4:8], 8
            if size == 1:  # the length did not fit into 32 bits
                size, body = int.from_bytes(head[8:16]), 16
            elif size == 0:  # up to the end of the file
                size = end - start
            if size < body:
                return
            extended = head[body : body + 16] if kind == b"uuid" else b""
            yield Box(kind, start, size, extended, complete=start + size <= end)
            start += size


@dataclass(slots=True)
class Tables:
    """What the tables of an MP4 promise, over all tracks.

    Attributes:
        entries: Samples of picture and sound, once for each edit of their track: the most that a demuxer makes an index of.
        readable: False where they are compressed, nested without end, or far longer than those of any clip.
    """

    entries: int = 0
    readable: bool = True


def tables(path: Path, boxes: Iterable[Box]) -> Tables:
    """Count what the tables promise before anything makes an index of them: a kilobyte can promise millions of frames."""
    found = Tables()
    left = MOST_TABLE_BYTES
    with path.open("rb") as file:
        for box in boxes:
            if box.kind not in _CONTAINERS | _SAMPLES.keys():
                continue
            file.seek(box.start)
            content = file.read(min(box.size, left + 1))
            left -= len(content)
            if left < 0:
                found.readable = False
                break
            _count(content, 0, len(content), 0, found)
    return found


def _count(content: bytes, start: int, end: int, depth: int, found: Tables) -> int:
    """Walk boxes within boxes, and return the edits among them; bytes that are no boxes end the walk of what holds them."""
    edits = 0
    if depth > _DEEPEST:
        found.readable = False
        return edits
    while start + 8 <= end:
        size, kind, body = (
            int.from_bytes(content[start : start + 4]),
            content[start + 4 : start + 8],
            start + 8,
        )
        if size == 1:
            size, body = int.from_bytes(content[body : body + 8]), body + 8
        # As demuxers do: a box ends where the one around it ends.
        stop = end if size == 0 else min(start + size, end)
        if stop < body:
            break
        if kind in _SAMPLES:
            at = body + _SAMPLES[kind]
            found.entries += int.from_bytes(content[at : at + 4])
        elif kind == b"elst":
            edits += int.from_bytes(content[body + 4 : body + 8])
        elif kind == b"cmov":
            found.readable = False
        elif kind == b"trak":
            track = Tables()
            repeated = _count(content, body, stop, depth + 1, track)
            found.entries += track.entries * max(1, repeated)
            found.readable &= track.readable
        elif kind in _CONTAINERS:
            edits += _count(content, body + (4 if kind == b"meta" else 0), stop, depth + 1, found)
        start = stop
    return edits
