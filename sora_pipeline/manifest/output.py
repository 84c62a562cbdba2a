"""The output manifest: one row per clip, whatever happened to it, as Arrow tables of some thousand rows.

Its columns are a contract (``OUTPUT_COLUMNS``); scripts and data set loaders rely on names, order and types.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sora_pipeline.clip import Clip, canonical_json
from sora_pipeline.manifest import cells
from sora_pipeline.manifest.arrow_arrays import arrow_array
from sora_pipeline.manifest.carried import as_text, carried_array
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.columns import OUTPUT_COLUMNS
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.manifest.table import is_blank
from sora_pipeline.manifest.uris import beside
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri
from sora_pipeline.video import VideoFacts

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = "2"
SCHEMA_VERSION_KEY = "sora_pipeline.schema_version"
INVALID_ROW = "invalid_row"

OutputRow = tuple[Clip, ClipOutcome] | tuple[InvalidRow, str]
"""A clip and how it stands, or a row that cannot be made and the id that it is reported by."""

_FACTS = tuple(field.name for field in fields(VideoFacts))
_facts, _NO_FACTS = attrgetter(*_FACTS), (None,) * len(_FACTS)


@dataclass(frozen=True, slots=True)
class OutputAbout:
    """What all rows of an output have in common.

    Attributes:
        production: The production.
        manifest_uri: Where its manifest is.
        manifest_sha256: Hash of that file.
        carried: Names and types of the columns carried through, in order.
    """

    production: str
    manifest_uri: Uri
    manifest_sha256: str
    carried: "Mapping[str, pa.DataType]"


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


def schema_of(about: OutputAbout) -> "pa.Schema":
    """The contract's columns, and then the carried ones."""
    import pyarrow as pa

    schema = output_schema()
    for name, kind in about.carried.items():
        schema = schema.append(pa.field(name, kind))
    return schema


def output_table(about: OutputAbout, rows: Sequence[OutputRow]) -> "pa.Table":
    """Some rows of the output manifest, in this order."""
    import pyarrow as pa

    cells = [
        _clip_cells(subject, standing, about)  # type: ignore[arg-type]  # a pair is of one kind
        if isinstance(standing, ClipOutcome)
        else _invalid_cells(subject, standing, about)  # type: ignore[arg-type]
        for subject, standing in rows
    ]
    columns = list(zip(*cells, strict=True)) or [()] * len(OUTPUT_COLUMNS)
    schema = schema_of(about)
    arrays: list[pa.Array[Any]] = [
        arrow_array(column, field.type) for column, field in zip(columns, schema, strict=False)
    ]
    carried = [subject.carried if isinstance(subject, Clip) else subject.values for subject, _ in rows]
    arrays += [
        carried_array([values.get(name) for values in carried], kind) for name, kind in about.carried.items()
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _clip_cells(clip: Clip, outcome: ClipOutcome, about: OutputAbout) -> tuple[Any, ...]:
    """The cells of ``OUTPUT_COLUMNS``."""
    delivered = outcome.status is ClipStatus.DELIVERED
    return (
        about.production,
        outcome.clip_id,
        outcome.status.value,
        # Only delivered videos are part of the data set that this folder is.
        outcome.file_name if delivered else None,
        outcome.video_path,
        clip.prompt,
        clip.image,
        clip.image_sha256,
        clip.model,
        outcome.model_returned,
        outcome.account,
        outcome.provider,
        str(clip.size),
        clip.duration,
        clip.take,
        outcome.prediction_id,
        outcome.provider_status,
        outcome.attempts,
        outcome.error_kind,
        outcome.error_message,
        outcome.retryable,
        outcome.submitted_at,
        outcome.completed_at,
        outcome.stored_at,
        outcome.queue_s,
        outcome.render_s,
        None if outcome.cost_usd is None else round(outcome.cost_usd, 4),
        *(_NO_FACTS if outcome.facts is None else _facts(outcome.facts)),
        outcome.poster_path,
        outcome.fingerprint or clip.fingerprint,
        outcome.run_id,
        about.manifest_sha256,
        clip.row_number,
        canonical_json(clip.parameters) if clip.parameters else None,
    )


def _invalid_cells(bad: InvalidRow, clip_id: str, about: OutputAbout) -> tuple[Any, ...]:
    def written(column: str) -> str | None:
        value = bad.values.get(column)
        return None if is_blank(value) else as_text(value)

    image = written("image")
    row: dict[str, Any] = {
        "production": about.production,
        "clip_id": clip_id,
        "status": ClipStatus.INVALID.value,
        "prompt": written("prompt"),
        "image": image and beside(about.manifest_uri, image.strip()),
        "model": written("model"),
        "size": written("size"),
        "duration": _readable_duration(bad.values.get("duration")),
        "attempts": 0,
        "error_kind": INVALID_ROW,
        "error_message": reasons_of(bad),
        "retryable": False,
        "manifest_sha256": about.manifest_sha256,
        "row_number": bad.row_number,
    }
    return tuple(map(row.get, OUTPUT_COLUMNS))


def reasons_of(bad: InvalidRow) -> str:
    """Everything that is wrong with a row, and where that is, as sentences."""
    return " ".join(
        f"{problem.shown_place}, {problem.column}: {_sentence(problem.message)}" for problem in bad.problems
    )


def _sentence(message: str) -> str:
    return message if message.endswith("?") else f"{message}."


def _readable_duration(value: Any) -> int | None:
    try:
        seconds = cells.seconds(value, "")
    except CellFault:
        return None
    return seconds if seconds is not None and abs(seconds) < 2**31 else None
