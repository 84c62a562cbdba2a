"""The output manifest: one row per clip, whatever happened to it, as an Arrow table and as Parquet.

Its columns are a contract (``OUTPUT_COLUMNS``); scripts and data set loaders rely on names, order and types.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest import cells
from sora_pipeline.manifest.arrow_arrays import arrow_array
from sora_pipeline.manifest.carried import as_text, carried_array
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.columns import OUTPUT_COLUMNS
from sora_pipeline.manifest.reported import invalid_ids as invalid_ids
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.table import is_blank
from sora_pipeline.manifest.uris import beside
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus
from sora_pipeline.video import VideoFacts

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = "2"
SCHEMA_VERSION_KEY = "sora_pipeline.schema_version"
INVALID_ROW = "invalid_row"

_REPORTED = tuple(field.name for field in fields(ClipOutcome) if field.name != "facts")
_FACTS = tuple(field.name for field in fields(VideoFacts))
_reported, _facts = attrgetter(*_REPORTED), attrgetter(*_FACTS)

_Row = tuple[dict[str, Any], Mapping[str, Any]]  # the contract's cells, the carried cells


def output_schema() -> "pa.Schema":
    """The contract's columns and types; carried columns come after them."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    types: dict[str, pa.DataType] = {
        "duration": pa.int32(),
        "take": pa.int32(),
        "attempts": pa.int32(),
        "retryable": pa.bool_(),
        "submitted_at": moment,
        "completed_at": moment,
        "stored_at": moment,
        "queue_s": pa.float64(),
        "render_s": pa.float64(),
        # Not decimal: pandas would make slow Python objects of it. Rounded to 4 places, sums stay exact to the cent.
        "cost_usd": pa.float64(),
        "bytes": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "fps": pa.float64(),
        "frames": pa.int32(),
        "duration_s": pa.float64(),
        "has_audio": pa.bool_(),
        "c2pa": pa.bool_(),
        "row_number": pa.int64(),
    }
    metadata: dict[bytes | str, bytes | str] = {SCHEMA_VERSION_KEY: SCHEMA_VERSION}
    return pa.schema([(name, types.get(name, pa.string())) for name in OUTPUT_COLUMNS], metadata=metadata)


def output_table(snapshot: Snapshot, outcomes: Iterable[ClipOutcome], production: str) -> "pa.Table":
    """One row per clip and per invalid row, sorted by clip id.

    A clip without an outcome is pending. Outcomes of clips that the snapshot no longer asks for are left out.
    """
    import pyarrow as pa

    known = {outcome.clip_id: outcome for outcome in outcomes}
    rows = [_clip_row(clip, known.get(clip.clip_id), snapshot, production) for clip in snapshot.clips]
    rows.extend(_invalid_row(bad, clip_id, snapshot, production) for bad, clip_id in invalid_ids(snapshot))
    rows.sort(key=lambda row: str(row[0]["clip_id"]))
    schema = output_schema()
    arrays: list[Any] = [
        arrow_array([row.get(field.name) for row, _ in rows], field.type) for field in schema
    ]
    for name in snapshot.carried_columns:
        array = carried_array([carried.get(name) for _, carried in rows])
        schema = schema.append(pa.field(name, array.type))
        arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def write_parquet(table: "pa.Table") -> bytes:
    """The output manifest's bytes, zstd-compressed, schema version in the key-value metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _clip_row(clip: Clip, outcome: ClipOutcome | None, snapshot: Snapshot, production: str) -> _Row:
    outcome = outcome or ClipOutcome(clip_id=clip.clip_id, status=ClipStatus.PENDING)
    row: dict[str, Any] = dict(zip(_REPORTED, _reported(outcome), strict=True))
    if outcome.facts is not None:
        row |= zip(_FACTS, _facts(outcome.facts), strict=True)
    row |= {
        "production": production,
        "status": outcome.status.value,
        # Only delivered videos are part of the data set that this folder is.
        "file_name": outcome.file_name if outcome.status is ClipStatus.DELIVERED else None,
        "prompt": clip.prompt,
        "image": clip.image,
        "image_sha256": clip.image_sha256,
        "model": clip.model,
        "size": str(clip.size),
        "duration": clip.duration,
        "take": clip.take,
        "cost_usd": None if outcome.cost_usd is None else round(outcome.cost_usd, 4),
        "fingerprint": outcome.fingerprint or clip.fingerprint,
        "manifest_sha256": snapshot.manifest_sha256,
        "row_number": clip.row_number,
    }
    return row, clip.carried


def _invalid_row(bad: InvalidRow, clip_id: str, snapshot: Snapshot, production: str) -> _Row:
    def written(column: str) -> str | None:
        value = bad.values.get(column)
        return None if is_blank(value) else as_text(value)

    image = written("image")
    row: dict[str, Any] = {
        "production": production,
        "clip_id": clip_id,
        "status": ClipStatus.INVALID.value,
        "prompt": written("prompt"),
        "image": image and beside(snapshot.manifest_uri, image.strip()),
        "model": written("model"),
        "size": written("size"),
        "duration": _readable_duration(bad.values.get("duration")),
        "attempts": 0,
        "error_kind": INVALID_ROW,
        "error_message": " ".join(f"{problem.column}: {problem.message}." for problem in bad.problems),
        "retryable": False,
        "manifest_sha256": snapshot.manifest_sha256,
        "row_number": bad.row_number,
    }
    return row, bad.values


def _readable_duration(value: Any) -> int | None:
    try:
        seconds = cells.whole_number(value, "")
    except CellFault:
        return None
    return seconds if seconds is not None and abs(seconds) < 2**31 else None
