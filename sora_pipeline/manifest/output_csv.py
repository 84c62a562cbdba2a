"""The output manifest's CSV twin, and the failed rows as a manifest to mend and hand in again."""

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.arrow_arrays import python_values
from sora_pipeline.manifest.carried import as_text
from sora_pipeline.manifest.columns import INPUT_COLUMNS
from sora_pipeline.manifest.formulas import escape
from sora_pipeline.manifest.output import invalid_ids
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.table import is_blank
from sora_pipeline.manifest.uris import beside
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    import pyarrow as pa

_FAILED_COLUMNS = ("clip_id", *(name for name in INPUT_COLUMNS if name != "clip_id"))
_BOM = "\ufeff"  # without it Excel takes UTF-8 for the local code page, and saves that


def write_csv(table: "pa.Table") -> bytes:
    """The table as UTF-8 CSV: null is empty, booleans true/false, times ISO 8601 with Z, lists JSON, no formulas."""
    columns = [_cells(table.column(name)) for name in table.column_names]
    return csv_text(escape(table.column_names, zip(*columns, strict=True))).encode()


def failed_csv(snapshot: Snapshot, outcomes: Iterable[ClipOutcome], production: str) -> bytes:
    """The rows that failed or were invalid, with what went wrong, as an input manifest.

    One row per clip, under the id that it is reported by, so that a mended row takes the place of the failed one; the
    production that it amends is named in every row. Images are absolute, so that the file can be handed in from any
    folder. ``error_message`` is dropped when the file is read, and apostrophes before formulas are taken off again. Ambiguous clips may have been paid for, so that handing the
    file in must not send them again: they are left out.
    """
    failed = {
        outcome.clip_id: outcome.error_message for outcome in outcomes if outcome.status is ClipStatus.FAILED
    }
    rows = [
        (clip.row_number, _clip_cells(clip, failed[clip.clip_id], snapshot))
        for clip in snapshot.clips
        if clip.clip_id in failed
    ]
    rows += [
        (bad.row_number, _invalid_cells(bad, reported_id, snapshot))
        for bad, reported_id in invalid_ids(snapshot)
    ]
    rows.sort(key=lambda row: row[0])
    header = ["production", *_FAILED_COLUMNS, *snapshot.carried_columns, "error_message"]
    return (_BOM + csv_text(escape(header, ([production, *cells] for _, cells in rows)))).encode()


def _clip_cells(clip: Clip, error: str | None, snapshot: Snapshot) -> list[str | None]:
    requested = [clip.prompt, clip.image, str(clip.duration), str(clip.size), clip.model, None]
    carried = [_cell(clip.carried.get(name)) for name in snapshot.carried_columns]
    return [clip.clip_id, *requested, *carried, error]


def _invalid_cells(bad: InvalidRow, reported_id: str, snapshot: Snapshot) -> list[str | None]:
    values = {**bad.values, "clip_id": reported_id}
    image = values.get("image")
    if isinstance(image, str) and not is_blank(image):
        values["image"] = beside(snapshot.manifest_uri, image.strip())
    written = [_cell(values.get(name)) for name in (*_FAILED_COLUMNS, *snapshot.carried_columns)]
    return [*written, " ".join(f"{problem.column}: {problem.message}." for problem in bad.problems)]


def _cells(column: "pa.ChunkedArray[Any]") -> list[Any]:
    import pyarrow as pa

    values = python_values(column)
    as_is = (
        pa.types.is_string(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
    )
    return values if as_is else [_cell(value) for value in values]


def _cell(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return as_text(value)


def csv_text(records: Iterable[Iterable[Any]]) -> str:
    """Records as CSV with line feeds at the ends of lines."""
    lines = _Lines()
    # Python quotes a carriage return in a cell only where it is part of the line's end (before 3.13).
    csv.writer(lines, lineterminator="\r\n").writerows(records)
    return "".join(lines.written)


class _Lines:
    """What the csv module writes to, a line at a time."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line.removesuffix("\r\n") + "\n")
