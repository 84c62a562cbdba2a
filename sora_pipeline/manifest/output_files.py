"""The output manifest as files: Parquet and its CSV twin, written side by side from rows in the order of their ids."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sora_pipeline.manifest.csv_file import CsvFile
from sora_pipeline.manifest.output_csv import csv_cell

if TYPE_CHECKING:
    import pyarrow as pa

FINISHED_AT_KEY = "sora_pipeline.finished_at"
"""In the key-value metadata of a production that has finished: when, in UTC."""
_CSV_ROWS = 4_096


def write_output(
    schema: "pa.Schema",
    tables: "Iterable[pa.Table]",
    parquet: Path,
    csv: Path,
    finished_at: datetime | None = None,
) -> None:
    """Write all rows, zstd-compressed, schema version in the key-value metadata; and as UTF-8 CSV.

    In CSV null is empty, booleans are true/false, times ISO 8601 with Z, lists JSON, and nothing is a formula.

    Args:
        schema: Of the tables.
        tables: The rows, in order.
        parquet: The file of the one kind.
        csv: The file of the other.
        finished_at: When the production finished; None: it goes on.

    Raises:
        OSError: one cannot be written.
    """
    import pyarrow.parquet as pq

    if finished_at is not None:
        finished = {FINISHED_AT_KEY: finished_at.astimezone(UTC).isoformat()}
        schema = schema.with_metadata({**(schema.metadata or {}), **finished})
    with (
        pq.ParquetWriter(parquet, schema, compression="zstd") as writer,
        CsvFile(csv, schema.names) as csv_file,
    ):
        for table in tables:
            writer.write_table(table)
            for begin in range(0, table.num_rows, _CSV_ROWS):
                part = table.slice(begin, _CSV_ROWS)
                csv_file.write([_cells(part.column(name)) for name in schema.names])


def _cells(column: "pa.ChunkedArray[Any]") -> Sequence[Any]:
    """The cells of a column: texts, or numbers."""
    import pyarrow as pa
    from pyarrow import types

    kind = column.type
    if types.is_string(kind) or types.is_integer(kind) or types.is_floating(kind):
        return column.to_pylist()
    if types.is_timestamp(kind):
        return list(map(_moment, column.cast(pa.string()).to_pylist()))
    return list(map(csv_cell, column.to_pylist()))


def _moment(text: str | None) -> str | None:
    """ISO 8601 for ``2026-05-04 10:30:01.250000Z``; no fraction where it is a whole second."""
    return None if text is None else f"{text[:10]}T{text[11:].removesuffix('Z').removesuffix('.000000')}Z"
