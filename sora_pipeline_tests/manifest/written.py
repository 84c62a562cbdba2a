"""The files of an output manifest, written from a snapshot and outcomes as a publish does: some rows at a time."""

import heapq
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sora_pipeline.manifest.carried import CarriedColumns
from sora_pipeline.manifest.output import OutputAbout, OutputRow, output_table, schema_of
from sora_pipeline.manifest.output_csv import FailedCsv
from sora_pipeline.manifest.output_files import write_output
from sora_pipeline.manifest.reported_ids import invalid_ids
from sora_pipeline.manifest.rows_by_id import RowsById
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus

PARQUET, CSV, FAILED = "metadata.parquet", "manifest.csv", "failed.csv"


def rows_of(snapshot: Snapshot, outcomes: Iterable[ClipOutcome]) -> list[OutputRow]:
    """In the manifest's order; a clip of which nothing is said is pending."""
    known = {outcome.clip_id: outcome for outcome in outcomes}
    clips: list[OutputRow] = [
        (clip, known.get(clip.clip_id, ClipOutcome(clip_id=clip.clip_id, status=ClipStatus.PENDING)))
        for clip in snapshot.clips
    ]
    invalid: list[OutputRow] = list(invalid_ids(snapshot))
    return list(heapq.merge(clips, invalid, key=lambda row: row[0].row_number))


def files_of(
    snapshot: Snapshot,
    outcomes: Iterable[ClipOutcome],
    production: str,
    *,
    stretch: int = 2,
    dividing: Sequence[str] = ("b", "row-6"),
) -> dict[str, bytes]:
    """Each file's content by its name.

    Args:
        snapshot: The manifest.
        outcomes: How its clips stand.
        production: Its name.
        stretch: How many rows are handed over at a time.
        dividing: Ids that divide all rows into parts that are sorted at a time.
    """
    rows = rows_of(snapshot, outcomes)
    carried = CarriedColumns(snapshot.carried_columns)
    for subject, _ in rows:
        carried.add_known([getattr(subject, "carried", None) or getattr(subject, "values", {})])
    about = OutputAbout(production, snapshot.manifest_uri, snapshot.manifest_sha256, carried.types())
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with RowsById(schema_of(about), dividing, folder) as by_id:
            with FailedCsv(folder / FAILED, about) as failed:
                for begin in range(0, len(rows), stretch):
                    by_id.add(output_table(about, rows[begin : begin + stretch]))
                    failed.add(rows[begin : begin + stretch])
            write_output(schema_of(about), by_id.tables(), folder / PARQUET, folder / CSV)
        return {name: (folder / name).read_bytes() for name in (PARQUET, CSV, FAILED)}


def table_of(snapshot: Snapshot, outcomes: Iterable[ClipOutcome], production: str) -> pa.Table:
    """The output manifest, as its Parquet file has it."""
    return pq.read_table(pa.BufferReader(files_of(snapshot, outcomes, production)[PARQUET]))
