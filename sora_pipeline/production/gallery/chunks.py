"""Rows packed into files that a page can load as scripts: column by column, with repeated values written once."""

import json
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
    """

    def __init__(self, kind: str, columns: Sequence[str], *, rows: int, chars: int, put: Put) -> None:
        self._kind, self._columns, self._put = kind, columns, put
        self._max_rows, self._max_chars = rows, chars
        self._rows: list[Cells] = []
        self._chars = 0
        self.files: list[list[Any]] = []
        """Of each file, in order: its name, and how many rows it has."""

    def add(self, cells: Cells, chars: int) -> list[tuple[Any, ...]]:
        """Take one more row.

        Args:
            cells: The row.
            chars: How long its longest texts are together.

        Returns:
            The columns of the file that became full with it, if one did.

        Raises:
            StoreError: a file cannot be written.
        """
        self._rows.append(cells)
        self._chars += chars
        full = len(self._rows) >= self._max_rows or self._chars >= self._max_chars
        return self.flush() if full else []

    def flush(self) -> list[tuple[Any, ...]]:
        """Write what is not in a file yet; its columns.

        Raises:
            StoreError: it cannot be written.
        """
        if not self._rows:
            return []
        columns = list(zip(*self._rows, strict=True))
        named = len(self._columns)
        chunk: dict[str, Any] = dict(zip(self._columns, map(_column, columns[:named]), strict=True))
        chunk["carried"] = [_column(values) for values in columns[named:]]
        self.files.append([self._put(self._kind, as_script(chunk)), len(self._rows)])
        self._rows, self._chars = [], 0
        return columns


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
