"""A CSV file to a table of strings. Knows nothing of what the columns mean, except ``prompt`` to spot a wrong delimiter."""

import codecs
import contextlib
import csv
import io
import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import IO

from sora_pipeline.manifest.bounds import MAX_CELLS, MAX_COLUMNS, MAX_ROWS, require_at_most
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.table import Record, Table
from sora_pipeline.spool import CHUNK_BYTES, Spool
from sora_pipeline.streams import Streamed

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FOREIGN = {
    b"PK\x03\x04": "this is an Excel workbook or zip file",
    b"\x1f\x8b": "this is gzip-compressed",
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
}
_LONGEST_MAGIC = max(map(len, _FOREIGN))
_STRETCH = 256
"""Rows that are read at a time; each may hold cells of the longest kind."""
_LIMIT_LOCK = threading.Lock()


def parse_csv(uri: str, content: Spool) -> Table:
    """Read comma-separated UTF-8, with or without a byte order mark.

    Rows keep their number also where blank rows between them were left out. The file is gone through once here, so that
    whatever is wrong with it is said now, and once more each time the table's rows are.

    Raises:
        ManifestError: the bytes are no such file.
    """
    require_at_most(uri, MAX_CELLS, _most_cells(uri, content), "cells")
    require_at_most(uri, MAX_COLUMNS, _widest_beginning(content), "columns")
    found = kept = 0
    header: list[str] | None = None
    for cells in _records(uri, content):
        found += 1
        require_at_most(uri, MAX_ROWS, found - 1, "rows, blank ones included")
        if _is_blank(cells):
            continue
        if header is None:
            header = cells
        else:
            kept += 1
    if header is None:
        raise ManifestError(uri, "the file is empty. It needs a header line with a prompt column, and rows.")
    names = tuple(name.strip() for name in header)
    _refuse_other_delimiters(uri, names)
    return Table(names, Streamed(kept, lambda: _rows(uri, content, len(names))))


def _rows(uri: str, content: Spool, width: int) -> Iterator[Record]:
    records = _records(uri, content)
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
    return Record(number, (*cells[:width], *missing), tuple(cell for cell in cells[width:] if cell.strip()))


def _most_cells(uri: str, content: Spool) -> int:
    """How many cells there are at most: one more than commas and line breaks, those inside of quotation marks included.

    Raises:
        ManifestError: the bytes are not UTF-8.
    """
    _refuse_foreign(uri, content.read(0, _LONGEST_MAGIC))
    separators = offset = lines = 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    with content.open() as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # What was left of the chunk before stands before this one.
                begins = offset + len(chunk) - len(error.object)
                lines += error.object.count(b"\n", 0, error.start)
                byte = error.object[error.start]
                reason = (
                    f"line {lines + 1} is not UTF-8 (byte 0x{byte:02x} at offset {begins + error.start}). Only UTF-8 is allowed; "
                    f'save the file again as "CSV UTF-8".'
                )
                raise ManifestError(uri, reason) from None
            if not chunk:
                return separators
            offset += len(chunk)
            lines += chunk.count(b"\n")
            separators += sum(map(chunk.count, (b",", b"\r", b"\n")))


def _refuse_foreign(uri: str, beginning: bytes) -> None:
    for magic, what in _FOREIGN.items():
        if beginning.startswith(magic):
            reason = (
                f"{what}. Only CSV in UTF-8, Parquet and .xlsx files can be read; save it as one of these."
            )
            raise ManifestError(uri, reason)


def _text(content: Spool) -> IO[str]:
    return io.TextIOWrapper(content.open(), encoding="utf-8-sig", newline="")


def _widest_beginning(content: Spool) -> int:
    """How many columns the first line that is not blank has, whatever is wrong with the rest."""
    with _cells_of_any_length(content), contextlib.suppress(csv.Error), _text(content) as lines:
        return next((len(cells) for cells in csv.reader(lines) if cells), 0)
    return 0


@contextlib.contextmanager
def _cells_of_any_length(content: Spool) -> Iterator[None]:
    """Let the csv module read cells as long as the file: too long a one is a problem of its row, not of the file.

    The limit is the process's. It is raised for a moment only, and never lowered under another reader.
    """
    with _LIMIT_LOCK:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, content.size + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _records(uri: str, content: Spool) -> Iterator[list[str]]:
    """The records as they are, with surplus cells; a quotation mark that is never closed would swallow rows.

    Raises:
        ManifestError: a row cannot be read.
    """
    with _text(content) as lines:
        reader = csv.reader(lines, strict=True)
        begins = 1
        while True:
            stretch: list[list[str]] = []
            try:
                with _cells_of_any_length(content):
                    for record in itertools.islice(reader, _STRETCH):
                        stretch.append(record)
                        begins = reader.line_num + 1
            except csv.Error as error:
                reason = (
                    f"the row that begins on line {begins} cannot be read ({error}). Put text that holds commas, "
                    f"quotation marks or line breaks between double quotes, and double every quotation mark inside it."
                )
                raise ManifestError(uri, reason) from None
            if not stretch:
                return
            yield from stretch


def _refuse_other_delimiters(uri: str, names: tuple[str, ...]) -> None:
    if "prompt" in names:
        return
    for delimiter, name in _OTHER_DELIMITERS.items():
        parts = [part.strip().strip('"').lower() for part in ",".join(names).split(delimiter)]
        if len(parts) > 1 and "prompt" in parts:
            reason = f"the columns are separated by {name}. Only commas are allowed; save it comma-separated."
            raise ManifestError(uri, reason)
