"""A CSV file that grows by columns of some thousand rows, and in which no spreadsheet finds a formula."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from sora_pipeline.manifest.columns import ESCAPED
from sora_pipeline.manifest.formulas import escaped_name, is_formula
from sora_pipeline.manifest.table import COMMA

BOM = "\ufeff"
"""Without it Excel takes UTF-8 for the local code page, and saves that."""
_QUOTED = '"\r\n'
"""Beside what separates the columns."""
_NEVER_FORMULAS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._([{\"'")
"""What most cells begin with; no formula does."""


class CsvFile:
    """UTF-8 with line feeds at the ends of lines; null is empty.

    Where a cell begins like a formula, one more column says of each row in which of its cells an apostrophe was put before
    the text. Whether there is any shows only with the last row, so rows that were written before the first get theirs then.

    Args:
        path: The file.
        header: Names of the columns, of which there are several.
        bom: Whether it begins with a byte-order mark.
        delimiter: Between columns.

    Raises:
        OSError: it cannot be written; so do the methods.
    """

    def __init__(
        self, path: Path, header: Sequence[str], *, bom: bool = False, delimiter: str = COMMA
    ) -> None:
        self._path, self._delimiter, self._quoted = path, delimiter, f"{delimiter}{_QUOTED}"
        self._names = [escaped_name(name) for name in header]
        self._marked = self._names != list(header)
        self._file: IO[bytes] = path.open("wb")
        names = [*self._names, ESCAPED] if self._marked else self._names
        self._file.write(f"{BOM if bom else ''}{delimiter.join(map(self._cell, names))}\n".encode())

    def __enter__(self) -> "CsvFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, columns: Sequence[Sequence[str | None] | Sequence[float | None]]) -> None:
        """Add rows, given by their columns: texts, or numbers, which are no formulas."""
        if not columns or not len(columns[0]):
            return
        cells: list[list[str]] = []
        formulas: dict[int, list[str]] = {}
        for name, column in zip(self._names, columns, strict=True):
            # Most columns of a stretch say one thing; of numbers with fractions 0.0 and -0.0 would seem alike.
            alike = not isinstance(column[0], float) and column.count(column[0]) == len(column)
            texts, is_text = _texts(column[:1] if alike else column)
            if alike and not (is_text and is_formula(texts[0])):
                cells.append([self._cell(texts[0])] * len(column))
                continue
            texts = texts * len(column) if alike else texts
            if is_text:
                for row in _formulas(texts):
                    texts[row] = f"'{texts[row]}"
                    formulas.setdefault(row, []).append(name)
                joined = "".join(texts)
                if any(mark in joined for mark in self._quoted):
                    texts = list(map(self._cell, texts))
            cells.append(texts)
        if formulas and not self._marked:
            self._mark_earlier_rows()
        if self._marked:
            marks = [""] * len(cells[0])
            for row, names in formulas.items():
                marks[row] = self._cell(json.dumps(names, ensure_ascii=False))
            cells.append(marks)
        self._file.write("\n".join([*map(self._delimiter.join, zip(*cells, strict=True)), ""]).encode())

    def _cell(self, text: str) -> str:
        if not any(mark in text for mark in self._quoted):
            return text
        doubled = text.replace('"', '""')
        return f'"{doubled}"'

    def _mark_earlier_rows(self) -> None:
        """Give the header its further column, and the rows so far an empty cell in it."""
        self._file.close()
        marked = self._path.with_name(f"marked-{self._path.name}")
        with self._path.open("rb") as unmarked, marked.open("wb") as file:
            for number, record in enumerate(records(unmarked)):
                file.write(record[:-1] + f"{self._delimiter}{'' if number else ESCAPED}\n".encode())
        marked.replace(self._path)
        self._file = self._path.open("ab")
        self._marked = True


def records(file: Iterable[bytes]) -> Iterator[bytes]:
    """The records of a CSV file that was written here, from its lines: a cell may have several."""
    record, quotes = b"", 0
    for line in file:
        record, quotes = record + line if record else line, quotes + line.count(b'"')
        if quotes % 2 == 0:
            yield record
            record, quotes = b"", 0


def _texts(column: Sequence[Any]) -> tuple[list[str], bool]:
    """The cells of a column as they are written, and whether they are texts by themselves."""
    try:
        "".join(column)
    except TypeError:
        kind = next((type(cell) for cell in column if cell is not None), str)
        if issubclass(kind, str):
            return ["" if cell is None else cell for cell in column], True
        return ["" if cell is None else str(cell) for cell in column], False
    return list(column), True


def _formulas(texts: Sequence[str]) -> list[int]:
    """Which of these a spreadsheet may take for formulas."""
    if {text[:1] for text in texts} <= _NEVER_FORMULAS | {""}:
        return []
    return [row for row, text in enumerate(texts) if is_formula(text)]
