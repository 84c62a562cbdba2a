"""A manifest file to raw rows: format, column names, nothing blank. Knows nothing of what a value may be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any

from sora_pipeline.manifest.bounds import MAX_BYTES, MAX_COLUMNS, MAX_ROWS, require_at_most
from sora_pipeline.manifest.column_names import lookalikes, understood_names
from sora_pipeline.manifest.columns import ESCAPED, INPUT_COLUMNS, REPORT_COLUMNS, TEXT_COLUMNS, meant_by
from sora_pipeline.manifest.csv_format import parse_csv
from sora_pipeline.manifest.excel_format import parse_excel
from sora_pipeline.manifest.formulas import unescape
from sora_pipeline.manifest.json_values import json_value, kind_of
from sora_pipeline.manifest.jsonl_format import EXTENSIONS, parse_jsonl
from sora_pipeline.manifest.parquet_format import MAGIC, parse_parquet
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.table import COMMA, ROWS, NotText, Places, Record, Table, is_blank
from sora_pipeline.manifest.understanding import NOTHING_GUESSED, Understanding
from sora_pipeline.manifest.uris import extension, read_to_spool, split_sheet
from sora_pipeline.spool import CHUNK_BYTES, Spool
from sora_pipeline.streams import Streamed
from sora_pipeline.uris import Uri, absolute_uri, is_incomplete

_TITLE_ROWS = 20
"""How many rows are looked through for the names of the columns, where the first has none."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it was written.

    Attributes:
        number: The first row below the header is 1.
        values: JSON values by column; strings where the file is CSV.
        not_text: What stands in columns of texts and is none; there ``values`` has a blank, since written into a CSV it would be
            text when it is read again.
        surplus: Cells beyond the last column, usually the rest of a text whose commas were not quoted.
        fault: Why the row as a whole cannot be read; empty: it can.
    """

    number: int
    values: Mapping[str, Any]
    surplus: tuple[str, ...] = ()
    not_text: Mapping[str, NotText] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A manifest whose file and columns are right; its rows are not yet looked at.

    Attributes:
        uri: Absolute path or URI.
        sha256: Hash of the file's bytes.
        rows: At least one; rows that are wholly blank are left out. Read anew, from a copy of the file, each time they are gone through.
        columns: Input and carried columns, in the file's order.
        ignored_columns: Columns of an output manifest, left out.
        productions: The productions that the rows say they belong to, as a ``failed.csv`` does.
        places: Where people find a row.
        understanding: What was guessed of how it is written.
        delimiter: What separates its columns, where it is CSV.
    """

    uri: Uri
    sha256: str
    rows: Streamed[RawRow]
    columns: tuple[str, ...]
    ignored_columns: tuple[str, ...] = ()
    productions: frozenset[str] = frozenset()
    places: Places = ROWS
    understanding: Understanding = NOTHING_GUESSED
    delimiter: str = COMMA

    @property
    def is_report(self) -> bool:
        """Whether a pipeline wrote it, as ``failed.csv``: its rows say whose they are, and what went wrong."""
        return {"production", "error_message"} <= set(self.ignored_columns)

    @property
    def carried_columns(self) -> tuple[str, ...]:
        """The columns that are no input columns."""
        return tuple(name for name in self.columns if name not in INPUT_COLUMNS)


def read_manifest(uri: str) -> ManifestFile:
    """Read CSV, Parquet, Excel or JSON Lines from a path or fsspec URI.

    The extension says which it is, else the content. Of a workbook the first sheet is read, or the one that is named:
    ``prompts.xlsx#Autumn``.

    Columns without a name are left out, with a note where they hold something and are no row index (a spreadsheet's or data
    frame's first column), and so are columns that only the output manifest may have.

    Raises:
        ManifestError: the file as a whole cannot be used.
    """
    uri = Uri(absolute_uri(uri))
    file, sheet = split_sheet(uri.reveal())
    if is_incomplete(file):
        reason = "this is an address as it is shown, without its query or fragment. Give the whole address."
        raise ManifestError(uri, reason)
    content, sha256 = read_to_spool(file, MAX_BYTES)
    if _is_blank(content):
        raise ManifestError(uri, "the file is empty. It needs a header line with a prompt column, and rows.")
    table = unescape(_parse(uri, extension(file), sheet, content))
    require_at_most(uri, MAX_COLUMNS, len(table.names), "columns")
    require_at_most(uri, MAX_ROWS, len(table.rows), "rows")
    meant = understood_names(uri, table.names, lambda: table.elsewhere or _header_below(table))
    names = [meant.get(name, name) for name in table.names]
    kept = [(i, name) for i, name in enumerate(names) if name and name not in REPORT_COLUMNS]
    return ManifestFile(
        uri=uri,
        sha256=sha256,
        rows=_raw_rows(uri, table, kept),
        columns=tuple(name for _, name in kept),
        ignored_columns=tuple(name for name in table.names if name in REPORT_COLUMNS - {ESCAPED}),
        productions=_productions(table),
        places=table.places,
        understanding=Understanding(
            table.read_as,
            meant,
            lookalikes=lookalikes([name for _, name in kept]),
            notes=(*table.notes, *_nameless(table)),
        ),
        delimiter=table.delimiter,
    )


def _header_below(table: Table) -> str:
    """Where the names of the columns are, if a title stands above them."""
    for row in islice(table.rows, _TITLE_ROWS):
        if any(
            isinstance(cell, str) and (cell.strip() == "prompt" or meant_by(cell) == "prompt")
            for cell in row.cells
        ):
            return f"{table.places.of(row.number).capitalize()} seems to: remove what stands above it."
    return ""


def _nameless(table: Table) -> list[str]:
    """That columns without a name have something in them; the first one is a spreadsheet's or data frame's row index."""
    nameless = {column for column, name in enumerate(table.names) if column and not name}
    filled: set[int] = set()
    if nameless:
        for row in table.rows:
            filled |= {column for column in nameless - filled if not is_blank(row.cells[column])}
    return [
        f"column {column + 1} has no name, and what stands in it is left out; give it one if it is meant"
        for column in sorted(filled)
    ]


def _productions(table: Table) -> frozenset[str]:
    if "production" not in table.names:
        return frozenset()
    column = table.names.index("production")
    named = {row.cells[column] for row in table.rows}
    return frozenset(str(name).strip() for name in named if not is_blank(name))


def _is_blank(content: Spool) -> bool:
    with content.open() as stream:
        while chunk := stream.read(CHUNK_BYTES):
            if not chunk.isspace():
                return False
    return True


def _parse(uri: str, kind: str, sheet: str | None, content: Spool) -> Table:
    if kind == ".xlsx":
        return parse_excel(uri, content.read(), sheet)
    if content.read(0, len(MAGIC)) == MAGIC or kind in (".parquet", ".pq"):
        return parse_parquet(uri, content, REPORT_COLUMNS - {"production", ESCAPED})
    if kind == ".json":
        reason = f"JSON as a whole is not read. Write JSON Lines ({EXTENSIONS[0]}): an object for each clip, each in a line of its own."
        raise ManifestError(uri, reason)
    if kind in EXTENSIONS:
        return parse_jsonl(uri, content)
    return parse_csv(uri, content)


def _raw_rows(uri: str, table: Table, kept: list[tuple[int, str]]) -> Streamed[RawRow]:
    if not table.rows:
        raise ManifestError(uri, "the file has columns but no rows. Write one row for each clip.")
    return table.rows.mapped(lambda row: _raw_row(row, kept))


def _raw_row(row: Record, kept: list[tuple[int, str]]) -> RawRow:
    values = {name: row.cells[i] for i, name in kept}
    typed = {name: value for name, value in values.items() if type(value) is not str}
    if not typed:
        return RawRow(row.number, values, row.surplus, fault=row.fault)
    not_text = {
        name: NotText(kind_of(value), str(json_value(value)))
        for name, value in typed.items()
        if name in TEXT_COLUMNS and not is_blank(value) and not (name == "clip_id" and _is_number(value))
    }
    values |= {name: None if name in not_text else json_value(value) for name, value in typed.items()}
    return RawRow(row.number, values, row.surplus, not_text, row.fault)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
