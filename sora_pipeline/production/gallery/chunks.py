"""Rows packed into files that a page can load as scripts: column by column, with repeated values written once."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sora_pipeline.production.gallery.rows import Cells

Put = Callable[[str, bytes], str]
"""Takes the kind of a file and its content, and says by what name the page can load it."""


class Chunks:
    """Collects rows, and writes a file whenever there are enough of them.

    Args:
        kind: What the files are called.
        columns: Names of the cells of every row; a row may have more, and those are kept together as ``carried``.
        rows: The most rows of one file.
        chars: Files that grow beyond this have fewer rows.
        put: Writes a file.
        counted: The column of which it is told how often each value is in each file.
    """

    def __init__(
        self,
        kind: str,
        columns: Sequence[str],
        *,
        rows: int,
        chars: int,
        put: Put,
        counted: str | None = None,
    ) -> None:
        self._kind, self._columns, self._put = kind, columns, put
        self._counted = None if counted is None else columns.index(counted)
        self._max_rows, self._max_chars = rows, chars
        self._rows: list[Cells] = []
        self._chars = 0
        self.files: list[list[Any]] = []
        """Of each file, in order: its name, how many rows it has, and how often each value of the counted column."""

    def add(self, cells: Cells) -> None:
        """Take one more row.

        Raises:
            StoreError: a file cannot be written.
        """
        self._rows.append(cells)
        self._chars += sum([len(cell) for cell in cells if type(cell) is str])
        if len(self._rows) >= self._max_rows or self._chars >= self._max_chars:
            self.flush()

    def flush(self) -> None:
        """Write what is not in a file yet.

        Raises:
            StoreError: it cannot be written.
        """
        if not self._rows:
            return
        columns = [_column(values) for values in zip(*self._rows, strict=True)]
        named = len(self._columns)
        chunk = dict(zip(self._columns, columns[:named], strict=True))
        if len(columns) > named:
            chunk["carried"] = columns[named:]
        file: list[Any] = [self._put(self._kind, as_script(chunk)), len(self._rows)]
        if self._counted is not None:
            file.append(Counter([row[self._counted] for row in self._rows]))
        self.files.append(file)
        self._rows, self._chars = [], 0


def as_script(data: Any) -> bytes:
    """JSON as a script that hands it to the page; plain ASCII, whatever encoding a server says it has."""
    return f"galleryData({json.dumps(data, separators=(',', ':'))})\n".encode("ascii")


def _column(values: Sequence[Any]) -> Any:
    """The values as they are, or each different one once, with a number for each row; none where all rows share one."""
    distinct = dict.fromkeys(values)
    if len(distinct) == 1:
        return {"values": [values[0]]}
    if len(distinct) > len(values) // 2:
        return values
    codes = {value: code for code, value in enumerate(distinct)}
    return {"values": list(distinct), "codes": [codes[value] for value in values]}
