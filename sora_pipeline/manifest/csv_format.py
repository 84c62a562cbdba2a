"""A CSV file to a table of strings. Knows nothing of what the columns mean."""

import csv
import itertools
from collections.abc import Iterator, Sequence

from sora_pipeline.manifest.bounds import MAX_CELLS, MAX_ROWS, require_at_most
from sora_pipeline.manifest.csv_dialect import DELIMITERS, Dialect, cells_of_any_length, dialect_of
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.table import Places, Record, Table
from sora_pipeline.spool import CHUNK_BYTES, Spool
from sora_pipeline.streams import Streamed

_STRETCH = 256
"""Rows that are read at a time; each may hold cells of the longest kind."""


def parse_csv(uri: str, content: Spool) -> Table:
    """Read text in which commas, semicolons or tabs separate the columns.

    Rows keep their number also where blank rows between them were left out. The file is gone through once here, so that
    whatever is wrong with it is said now, and once more each time the table's rows are.

    Raises:
        ManifestError: the bytes are no such file, or can be read in more than one way.
    """
    require_at_most(uri, MAX_CELLS, _most_cells(content), "cells")
    dialect = dialect_of(uri, content)
    found = kept = above = 0
    header: list[str] | None = None
    for cells in _records(uri, content, dialect):
        found += 1
        require_at_most(uri, MAX_ROWS, found - 1, "rows, blank ones included")
        if _is_blank(cells):
            continue
        if header is None:
            header, above = cells, found
            continue
        kept += 1
        if len(cells) == 1 < len(header):
            _refuse_mixed(uri, dialect, cells[0], found, len(header))
    if header is None:
        raise ManifestError(uri, "the file is empty. It needs a header line with a prompt column, and rows.")
    names = tuple(name.strip() for name in header)
    rows = Streamed(kept, lambda: _rows(uri, content, dialect, len(names)))
    return Table(names, rows, Places("row", above), dialect.words, dialect.delimiter)


def _rows(uri: str, content: Spool, dialect: Dialect, width: int) -> Iterator[Record]:
    records = _records(uri, content, dialect)
    next(cells for cells in records if not _is_blank(cells))  # the header
    for number, cells in enumerate(records, start=1):
        if not _is_blank(cells):
            yield _record(number, cells, width)


def _is_blank(cells: Sequence[str]) -> bool:
    return not "".join(cells).strip()


def _record(number: int, cells: Sequence[str], width: int) -> Record:
    if len(cells) == width:
        return Record(number, tuple(cells))
    missing = [""] * (width - len(cells))
    # Beside a single column there is no reason for a separator, unless it is part of the text.
    surplus = cells[width:] if width == 1 else [cell for cell in cells[width:] if cell.strip()]
    return Record(number, (*cells[:width], *missing), tuple(surplus))


def _refuse_mixed(uri: str, dialect: Dialect, cell: str, row: int, columns: int) -> None:
    """Refuse a row in which another sign separates what the first line's does not."""
    for mark, words in DELIMITERS.items():
        if mark == dialect.delimiter or mark not in cell:
            continue
        # A short row of a file with commas, as every manifest was once, may be a prompt with a semicolon and nothing else.
        if dialect.is_plain and not _is_a_row(cell, mark, columns):
            continue
        reason = (
            f"the first line separates columns by {DELIMITERS[dialect.delimiter]}, and row {row} has none, but {words}. "
            f"Save the file with the same sign in all of it; text that holds {words} is put between double quotes, and "
            f"followed by {DELIMITERS[dialect.delimiter]} for the columns that it leaves blank."
        )
        raise ManifestError(uri, reason)


def _is_a_row(cell: str, mark: str, columns: int) -> bool:
    """Whether a sign separates as many cells as there are columns; in text, a space follows it."""
    parts = cell.split(mark)
    return len(parts) == columns and not any(part.startswith(" ") for part in parts[1:])


def _most_cells(content: Spool) -> int:
    """How many cells there are at most: one more than separators and line breaks, those inside of quotation marks included."""
    marks = [mark.encode() for mark in DELIMITERS]
    counts, breaks = [0] * len(marks), 0
    with content.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            breaks += chunk.count(b"\r") + chunk.count(b"\n")
            counts = [count + chunk.count(mark) for count, mark in zip(counts, marks, strict=True)]
    return max(counts) + breaks


def _records(uri: str, content: Spool, dialect: Dialect) -> Iterator[list[str]]:
    """The records as they are, with surplus cells; a quotation mark that is never closed would swallow rows.

    Raises:
        ManifestError: a row cannot be read.
    """
    with dialect.open(content) as lines:
        reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
        begins = 1 + dialect.declared
        while True:
            stretch: list[list[str]] = []
            try:
                with cells_of_any_length(content):
                    for record in itertools.islice(reader, _STRETCH):
                        stretch.append(record)
                        begins = reader.line_num + 1 + dialect.declared
            except csv.Error as error:
                reason = (
                    f"the row that begins on line {begins} cannot be read ({error}). Put text that holds "
                    f"{DELIMITERS[dialect.delimiter]}, quotation marks or line breaks between double quotes, and double every "
                    "quotation mark inside it."
                )
                raise ManifestError(uri, reason) from None
            if not stretch:
                return
            yield from stretch
