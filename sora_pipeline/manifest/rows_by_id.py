"""Rows that come in one order and are written in that of their ids, in memory for some thousand of them.

Ids are spread evenly over files by a sample of them, and each file is sorted by itself. The files have no names, so that
nothing of them is left where a process is killed.
"""

import tempfile
import zlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

FILE_ROWS = 16_384
"""About how many rows are sorted at a time."""
MOST_FILES = 256
_SAMPLE = 64
"""Ids of each file in the sample that divides them, about."""


class IdSample:
    """Some of very many ids: always the same ones, whatever pattern there is in their order."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._rows, self._one_in = 0, 1

    def add(self, clip_ids: Iterable[str]) -> None:
        """Look at some more ids."""
        for clip_id in clip_ids:
            self._rows += 1
            if zlib.crc32(clip_id.encode()) % self._one_in == 0:
                self._ids.append(clip_id)
        while len(self._ids) > 2 * _SAMPLE * self._files():
            self._one_in *= 2
            self._ids = [each for each in self._ids if zlib.crc32(each.encode()) % self._one_in == 0]

    def dividing(self) -> list[str]:
        """Ids that divide all of them into parts of about so many rows."""
        files = self._files()
        ordered = sorted(self._ids)
        return [ordered[len(ordered) * part // files] for part in range(1, files)] if ordered else []

    def _files(self) -> int:
        return min(-(-self._rows // FILE_ROWS), MOST_FILES) or 1


class RowsById:
    """Takes tables with a column ``clip_id``, and gives all their rows back in the order of that.

    Args:
        schema: Of the tables.
        dividing: Ids that divide all rows into parts that can be sorted at a time.
        folder: Where what does not fit into memory is kept.
    """

    def __init__(self, schema: "pa.Schema", dividing: Sequence[str], folder: Path) -> None:
        from pyarrow import ipc

        self._dividing = list(dividing)
        self._files: list[Any] = []
        self._writers: list[Any] = []
        try:
            for _ in range(len(self._dividing) + 1):
                self._files.append(tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 - closed with this object
                self._writers.append(ipc.new_stream(self._files[-1], schema))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "RowsById":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back."""
        for file in self._files:
            file.close()

    def add(self, table: "pa.Table") -> None:
        """Take some rows."""
        ordered = _sorted(table)
        ids: list[Any] = ordered.column("clip_id").to_pylist()
        begin = 0
        ends = [*(bisect_left(ids, clip_id) for clip_id in self._dividing), len(ids)]
        for writer, end in zip(self._writers, ends, strict=True):
            if end > begin:
                writer.write_table(ordered.slice(begin, end - begin))
            begin = end

    def tables(self) -> Iterator["pa.Table"]:
        """All rows, in order, a part at a time; once."""
        from pyarrow import ipc

        for file, writer in zip(self._files, self._writers, strict=True):
            writer.close()
            file.seek(0)
            with ipc.open_stream(file) as reader:
                table = reader.read_all()
            if table.num_rows:
                yield _sorted(table)
            file.close()


def _sorted(table: "pa.Table") -> "pa.Table":
    import pyarrow.compute as pc

    # By their bytes: in that order stand ids of letters, digits and signs in Python, too.
    return table.take(pc.sort_indices(table, [("clip_id", "ascending")]))
