"""What the page is told of one row: what its card shows and is searched by, and what the large view shows besides."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.carried import as_text
from sora_pipeline.manifest.output import INVALID_ROW, invalid_ids
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus

GalleryRow = tuple[Clip, ClipOutcome] | tuple[InvalidRow, str]
"""A clip and how it stands, or a row that cannot be made and the id that it is reported by."""

MAX_LISTED_CHARS = 300
"""Of a prompt or a reason, as cards show it; the rest is with the details."""
MAX_CARRIED_CHARS = 80
MAX_LISTED_CARRIED = 12
"""How many of the carried columns can be filtered by."""

LISTED = (
    "id",
    "status",
    "prompt",
    "kind",
    "reason",
    "size",
    "seconds",
    "model",
    "cost",
    "attempts",
    "stored",
    "row",
    "video",
    "poster",
    "cut",
)
DETAILS = (
    "image",
    "image_sha256",
    "take",
    "model_returned",
    "account",
    "provider",
    "prediction_id",
    "provider_status",
    "submitted_at",
    "completed_at",
    "stored_at",
    "queue_s",
    "render_s",
    "bytes",
    "width",
    "height",
    "fps",
    "duration_s",
    "video_codec",
    "has_audio",
    "c2pa",
    "run_id",
    "whole",
)
_NO_DETAILS = (None,) * (len(DETAILS) - 1)

Cells = tuple[Any, ...]


def in_manifest_order(snapshot: Snapshot, outcomes: Sequence[ClipOutcome]) -> Iterator[GalleryRow]:
    """The rows of a snapshot whose clips are those of the outcomes, one by one and in the same order."""
    clips: Iterator[GalleryRow] = zip(snapshot.clips, outcomes, strict=True)
    invalid: Iterator[GalleryRow] = iter(invalid_ids(snapshot))
    return heapq.merge(clips, invalid, key=lambda row: row[0].row_number)


def cells_of(row: GalleryRow, carried_columns: Sequence[str]) -> tuple[Cells, Cells]:
    """The cells of a row: ``LISTED`` and then carried columns, and ``DETAILS``."""
    subject, standing = row
    if isinstance(subject, InvalidRow):
        assert isinstance(standing, str)
        return _invalid_cells(subject, standing, carried_columns)
    assert isinstance(standing, ClipOutcome)
    return _clip_cells(subject, standing, carried_columns)


def _clip_cells(clip: Clip, outcome: ClipOutcome, columns: Sequence[str]) -> tuple[Cells, Cells]:
    delivered = outcome.status is ClipStatus.DELIVERED
    reason = None if delivered else outcome.error_message
    carried = tuple([as_text(clip.carried.get(name)) for name in columns])
    whole = _whole(clip.prompt, reason, carried)
    listed = (
        clip.clip_id,
        outcome.status.value,
        _cut(clip.prompt),
        None if delivered else outcome.error_kind,
        _cut(reason),
        str(clip.size),
        clip.duration,
        clip.model,
        None if outcome.cost_usd is None else round(outcome.cost_usd, 4),
        outcome.attempts,
        None if outcome.stored_at is None else int(outcome.stored_at.timestamp()),
        clip.row_number,
        *_files(outcome),
        whole is not None,
        *_listed_carried(carried),
    )
    facts = outcome.facts
    details = (
        clip.image and str(clip.image),
        clip.image_sha256,
        clip.take,
        outcome.model_returned,
        outcome.account,
        outcome.provider,
        outcome.prediction_id,
        outcome.provider_status,
        _moment(outcome.submitted_at),
        _moment(outcome.completed_at),
        _moment(outcome.stored_at),
        outcome.queue_s,
        outcome.render_s,
        *(
            (None,) * 8
            if facts is None
            else (
                facts.bytes,
                facts.width,
                facts.height,
                round(facts.fps, 3),
                round(facts.duration_s, 3),
                facts.video_codec,
                facts.has_audio,
                facts.c2pa,
            )
        ),
        outcome.run_id,
        whole,
    )
    return listed, details


def _invalid_cells(row: InvalidRow, clip_id: str, columns: Sequence[str]) -> tuple[Cells, Cells]:
    prompt, size, seconds, model = (
        as_text(row.values.get(name)) or None for name in ("prompt", "size", "duration", "model")
    )
    reason = " ".join(f"{problem.column}: {problem.message}." for problem in row.problems)
    carried = tuple([as_text(row.values.get(name)) for name in columns])
    whole = _whole(prompt, reason, carried)
    listed = (
        clip_id,
        ClipStatus.INVALID.value,
        _cut(prompt),
        INVALID_ROW,
        _cut(reason),
        size and size[:MAX_CARRIED_CHARS],
        seconds and seconds[:MAX_CARRIED_CHARS],
        model and model[:MAX_CARRIED_CHARS],
        None,
        0,
        None,
        row.row_number,
        None,
        None,
        whole is not None,
        *_listed_carried(carried),
    )
    return listed, (*_NO_DETAILS, whole)


def _files(outcome: ClipOutcome) -> tuple[str | None, str | bool | None]:
    """Video and poster: where they lie under the names that videos are given, only what differs from clip to clip."""
    if outcome.file_name is None or outcome.status is not ClipStatus.DELIVERED:
        return None, None
    usual, clip_id = outcome.file_name, outcome.clip_id
    before, after = f"videos/{clip_id}/{clip_id}-", ".mp4"
    if not (usual.startswith(before) and usual.endswith(after)):
        return usual, outcome.poster_path
    name = usual[len(before) : -len(after)]
    usual_poster = outcome.poster_path == f".posters/{clip_id}/{clip_id}-{name}.jpg"
    return name, usual_poster or outcome.poster_path


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MAX_LISTED_CHARS else text[:MAX_LISTED_CHARS]


def _listed_carried(carried: Sequence[str | None]) -> list[str | None]:
    return [text if text is None else text[:MAX_CARRIED_CHARS] for text in carried[:MAX_LISTED_CARRIED]]


def _whole(
    prompt: str | None, reason: str | None, carried: tuple[str | None, ...]
) -> tuple[str | None, str | None, tuple[str | None, ...]] | None:
    """The texts of a row of which its card has not everything; None: it has."""
    cut = (
        len(prompt or "") > MAX_LISTED_CHARS
        or len(reason or "") > MAX_LISTED_CHARS
        or any(text is not None and len(text) > MAX_CARRIED_CHARS for text in carried)
        or any(text is not None for text in carried[MAX_LISTED_CARRIED:])
    )
    return (prompt, reason, carried) if cut else None


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")
