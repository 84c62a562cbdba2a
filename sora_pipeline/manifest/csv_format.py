"""CSV bytes to a table of strings. Knows nothing of what the columns mean, except ``prompt`` to spot a wrong delimiter."""

import contextlib
import csv
import io
import itertools
import threading
from collections.abc import Iterator, Sequence

from sora_pipeline.manifest.bounds import MAX_CELLS, MAX_COLUMNS, MAX_ROWS, require_at_most
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.table import Record, Table

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FOREIGN = {
    b"PK\x03\x04": "this is an Excel workbook or zip file",
    b"\x1f\x8b": "this is gzip-compressed",
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
}
_LIMIT_LOCK = threading.Lock()


def parse_csv(uri: str, content: bytes) -> Table:
    """Read comma-separated UTF-8, with or without a byte order mark.

    Rows keep their number also where blank rows between them were left out.

    Raises:
        ManifestError: the bytes are no such file.
    """
    text = _decode(uri, content)
    # A cell more than there are commas and line breaks, or fewer: those inside of quotation marks count as well.
    require_at_most(uri, MAX_CELLS, sum(map(text.count, ",\r\n")), "cells")
    require_at_most(uri, MAX_COLUMNS, _widest_beginning(text), "columns")
    records = _records(uri, text)
    require_at_most(uri, MAX_ROWS, len(records) - 1, "rows, blank ones included")
    return _table(uri, iter(records))


def _table(uri: str, records: Iterator[Sequence[str]]) -> Table:
    header = next((cells for cells in records if any(cell.strip() for cell in cells)), None)
    if header is None:
        raise ManifestError(uri, "the file is empty. It needs a header line with a prompt column, and rows.")
    names = tuple(name.strip() for name in header)
    _refuse_other_delimiters(uri, names)
    rows = [_record(number, cells, len(names)) for number, cells in enumerate(records, start=1)]
    return Table(names, [row for row in rows if row is not None])


def _record(number: int, cells: Sequence[str], width: int) -> Record | None:
    """The row; None where it is wholly blank."""
    if not "".join(cells).strip():
        return None
    if len(cells) == width:
        return Record(number, tuple(cells))
    missing = [""] * (width - len(cells))
    return Record(number, (*cells[:width], *missing), tuple(cell for cell in cells[width:] if cell.strip()))


def _decode(uri: str, content: bytes) -> str:
    for magic, what in _FOREIGN.items():
        if content.startswith(magic):
            reason = (
                f"{what}. Only CSV in UTF-8, Parquet and .xlsx files can be read; save it as one of these."
            )
            raise ManifestError(uri, reason)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        reason = (
            f"line {line} is not UTF-8 (byte 0x{byte:02x} at offset {error.start}). Only UTF-8 is allowed; "
            f'save the file again as "CSV UTF-8".'
        )
        raise ManifestError(uri, reason) from None


def _widest_beginning(text: str) -> int:
    """How many columns the first line that is not blank has, whatever is wrong with the rest."""
    with _cells_of_any_length(text), contextlib.suppress(csv.Error):
        return next((len(cells) for cells in csv.reader(io.StringIO(text, newline="")) if cells), 0)
    return 0


@contextlib.contextmanager
def _cells_of_any_length(text: str) -> Iterator[None]:
    """Let the csv module read cells as long as the text: too long a one is a problem of its row, not of the file.

    The limit is the process's. It is raised for a moment only, and never lowered under another reader.
    """
    with _LIMIT_LOCK:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, len(text) + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _records(uri: str, text: str) -> list[list[str]]:
    """The records as they are, with surplus cells; a quotation mark that is never closed would swallow rows.

    Raises:
        ManifestError: a row cannot be read.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[list[str]] = []
    begins = 1
    with _cells_of_any_length(text):
        try:
            for record in itertools.islice(reader, MAX_ROWS + 2):
                records.append(record)
                begins = reader.line_num + 1
        except csv.Error as error:
            reason = (
                f"the row that begins on line {begins} cannot be read ({error}). Put text that holds commas, "
                f"quotation marks or line breaks between double quotes, and double every quotation mark inside it."
            )
            raise ManifestError(uri, reason) from None
    return records


def _refuse_other_delimiters(uri: str, names: tuple[str, ...]) -> None:
    if "prompt" in names:
        return
    for delimiter, name in _OTHER_DELIMITERS.items():
        parts = [part.strip().strip('"').lower() for part in ",".join(names).split(delimiter)]
        if len(parts) > 1 and "prompt" in parts:
            reason = f"the columns are separated by {name}. Only commas are allowed; save it comma-separated."
            raise ManifestError(uri, reason)
