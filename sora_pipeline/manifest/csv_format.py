"""CSV bytes to a table of strings. Knows nothing of what the columns mean, except ``prompt`` to spot a wrong delimiter."""

import csv
import io
from collections.abc import Iterator

from sora_pipeline.manifest.problems import ManifestProblem
from sora_pipeline.manifest.table import Record, Table

_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FOREIGN = {
    b"PK\x03\x04": "this is an Excel workbook or zip file",
    b"\x1f\x8b": "this is gzip-compressed",
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
}


def parse_csv(uri: str, content: bytes) -> Table:
    """Read comma-separated UTF-8, with or without a byte order mark.

    Rows keep their number also where blank rows between them were left out.

    Raises:
        ManifestProblem: the bytes are no such file.
    """
    records = _records(uri, _decode(uri, content))
    header = next((cells for cells in records if any(cell.strip() for cell in cells)), None)
    if header is None:
        raise ManifestProblem(
            uri, "the file is empty. It needs a header line with a prompt column, and rows."
        )
    names = tuple(name.strip() for name in header)
    _refuse_other_delimiters(uri, names)
    width = len(names)
    rows = []
    for number, cells in enumerate(records, start=1):
        if any(cell and not cell.isspace() for cell in cells):
            surplus = tuple(cell for cell in cells[width:] if cell.strip())
            missing = [None] * (width - len(cells))
            rows.append(Record(number, (*cells[:width], *missing), surplus))
    return Table(names, rows)


def _decode(uri: str, content: bytes) -> str:
    for magic, what in _FOREIGN.items():
        if content.startswith(magic):
            reason = f"{what}. Only CSV in UTF-8 and Parquet can be read; save it as one of these."
            raise ManifestProblem(uri, reason)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        reason = (
            f"line {line} is not UTF-8 (byte 0x{byte:02x} at offset {error.start}). Only UTF-8 is allowed; "
            f'save the file again as "CSV UTF-8".'
        )
        raise ManifestProblem(uri, reason) from None


def _records(uri: str, text: str) -> Iterator[list[str]]:
    """The records, strictly: a quotation mark that is never closed would swallow rows that were to be paid for."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            reason = (
                f"the row that begins on line {begins} cannot be read ({error}). Put text that holds commas, "
                f"quotation marks or line breaks between double quotes, and double every quotation mark inside it."
            )
            raise ManifestProblem(uri, reason) from None
        if record is None:
            return
        yield record


def _refuse_other_delimiters(uri: str, names: tuple[str, ...]) -> None:
    if "prompt" in names:
        return
    for delimiter, name in _OTHER_DELIMITERS.items():
        parts = [part.strip().strip('"').lower() for part in ",".join(names).split(delimiter)]
        if len(parts) > 1 and "prompt" in parts:
            reason = f"the columns are separated by {name}. Only commas are allowed; save it comma-separated."
            raise ManifestProblem(uri, reason)
