"""What the page is told of one row: what its card shows and is searched by, and what the large view shows besides."""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.carried import as_text
from sora_pipeline.manifest.output import INVALID_ROW, OutputRow, reasons_of
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus

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
_OF_OUTCOME = (
    "model_returned",
    "account",
    "provider",
    "prediction_id",
    "provider_status",
    "queue_s",
    "render_s",
    "run_id",
)
_OF_VIDEO = ("bytes", "width", "height", "fps", "duration_s", "video_codec", "has_audio", "c2pa")
DETAILS = ("image", "image_sha256", "take", "submitted", "completed", "whole", *_OF_OUTCOME, *_OF_VIDEO)
_of_outcome, _of_video = attrgetter(*_OF_OUTCOME), attrgetter(*_OF_VIDEO)
_PROMPT, _REASON, _WHOLE = LISTED.index("prompt"), LISTED.index("reason"), DETAILS.index("whole")
_NO_OUTCOME, _NO_VIDEO = (None,) * len(_OF_OUTCOME), (None,) * len(_OF_VIDEO)

Cells = tuple[Any, ...]


def cells_of(row: OutputRow, carried_columns: Sequence[str]) -> tuple[Cells, Cells]:
    """The cells of a row: ``LISTED`` and then carried columns, and ``DETAILS``."""
    subject, standing = row
    if isinstance(subject, InvalidRow):
        assert isinstance(standing, str)
        return _invalid_cells(subject, standing, carried_columns)
    assert isinstance(standing, ClipOutcome)
    return _clip_cells(subject, standing, carried_columns)


def listed_chars(cells: Cells) -> int:
    """About how long a row of the list is."""
    return len(cells[_PROMPT] or "") + len(cells[_REASON] or "") + 20 * len(cells)


def details_chars(cells: Cells) -> int:
    """About how long a row's details are."""
    whole = cells[_WHOLE]
    if whole is None:
        return 20 * len(cells)
    prompt, reason, carried = whole
    return len(prompt or "") + len(reason or "") + sum(len(text or "") for text in carried)


def _clip_cells(clip: Clip, outcome: ClipOutcome, columns: Sequence[str]) -> tuple[Cells, Cells]:
    delivered = outcome.status is ClipStatus.DELIVERED
    reason = None if delivered else outcome.error_message
    carried = tuple([_text(clip.carried.get(name)) for name in columns])
    whole = _whole(clip.prompt, reason, carried)
    listed = (
        clip.clip_id,
        outcome.status.value,
        clip.prompt[:MAX_LISTED_CHARS],
        None if delivered else outcome.error_kind,
        reason and reason[:MAX_LISTED_CHARS],
        str(clip.size),
        clip.duration,
        clip.model,
        outcome.cost_usd and round(outcome.cost_usd, 4),
        outcome.attempts,
        _seconds(outcome.stored_at),
        clip.row_number,
        *_files(outcome),
        whole is not None,
        *_listed_carried(carried),
    )
    details = (
        clip.image and clip.image.shown,
        clip.image_sha256,
        clip.take,
        _seconds(outcome.submitted_at),
        _seconds(outcome.completed_at),
        whole,
        *_of_outcome(outcome),
        *(_NO_VIDEO if outcome.facts is None else _of_video(outcome.facts)),
    )
    return listed, details


def _invalid_cells(row: InvalidRow, clip_id: str, columns: Sequence[str]) -> tuple[Cells, Cells]:
    prompt = _text(row.values.get("prompt"))
    size, seconds, model = _listed_carried(
        [_text(row.values.get(name)) or None for name in ("size", "duration", "model")]
    )
    reason = reasons_of(row)
    carried = tuple([_text(row.values.get(name)) for name in columns])
    whole = _whole(prompt, reason, carried)
    listed = (
        clip_id,
        ClipStatus.INVALID.value,
        prompt and prompt[:MAX_LISTED_CHARS],
        INVALID_ROW,
        reason[:MAX_LISTED_CHARS],
        size,
        seconds,
        model,
        None,
        0,
        None,
        row.row_number,
        None,
        None,
        whole is not None,
        *_listed_carried(carried),
    )
    return listed, (None, None, None, None, None, whole, *_NO_OUTCOME, *_NO_VIDEO)


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


def _listed_carried(carried: Sequence[str | None]) -> list[str | None]:
    return [text if text is None else text[:MAX_CARRIED_CHARS] for text in carried[:MAX_LISTED_CARRIED]]


def _whole(
    prompt: str | None, reason: str | None, carried: tuple[str | None, ...]
) -> tuple[str | None, str | None, tuple[str | None, ...]] | None:
    """The texts of a row of which its card has not everything; None: it has."""
    cut = (
        len(prompt or "") > MAX_LISTED_CHARS
        or len(reason or "") > MAX_LISTED_CHARS
        or bool([text for text in carried if text is not None and len(text) > MAX_CARRIED_CHARS])
        or carried[MAX_LISTED_CARRIED:].count(None) < len(carried) - MAX_LISTED_CARRIED
    )
    return (prompt, reason, carried) if cut else None


def _text(value: Any) -> str | None:
    """A JSON value as people read it: lists of texts without JSON's marks."""
    if value is None or type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is list and all(type(item) is str for item in value):
        return ", ".join(value)
    return as_text(value)


def _seconds(moment: datetime | None) -> int | None:
    """Of Unix time, which a page can write as its reader does."""
    return None if moment is None else int(moment.timestamp())
