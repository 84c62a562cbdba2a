"""The outer structure of an MP4 file: a row of boxes, each with a length and a name. Reads headers only."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_C2PA = uuid.UUID("d8fec3d6-1b0e-483c-9297-5828877ec481").bytes
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
    """Walk the boxes of a file to its end, or to the first that is nonsense."""
    end = path.stat().st_size
    with path.open("rb") as file:
        start = 0
        while start + 8 <= end:
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
