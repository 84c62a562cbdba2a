"""The names of the columns a manifest may have, each written once."""

import re
from collections.abc import Iterable

INPUT_COLUMNS = ("prompt", "clip_id", "image", "duration", "size", "model", "takes")

TEXT_COLUMNS = frozenset({"prompt", "clip_id", "image", "size", "model"})
"""Input columns in which only text means anything, and numbers in ``clip_id``."""

PARAMETER_COLUMNS = ("negative_prompt", "seed")
"""What people expect every model to know. They are never carried through: who writes one wants it to decide what is seen."""

OUTPUT_COLUMNS = (
    "production",
    "clip_id",
    "status",
    "file_name",
    "video_path",
    "prompt",
    "image",
    "image_sha256",
    "model",
    "model_returned",
    "account",
    "provider",
    "size",
    "duration",
    "take",
    "prediction_id",
    "provider_status",
    "attempts",
    "error_kind",
    "error_message",
    "retryable",
    "submitted_at",
    "completed_at",
    "stored_at",
    "queue_s",
    "render_s",
    "cost_usd",
    "bytes",
    "sha256",
    "width",
    "height",
    "fps",
    "frames",
    "duration_s",
    "video_codec",
    "has_audio",
    "c2pa",
    "poster_path",
    "fingerprint",
    "run_id",
    "manifest_sha256",
    "row_number",
    "parameters",
)

ESCAPED = "escaped_columns"
"""In CSV files only, and there only where it is needed: the row's columns whose text has an apostrophe put before it."""

# What an output manifest says about a clip is no instruction for the next run: these are dropped on reading,
# so that failed.csv, and even manifest.csv, can be handed in again as they are.
REPORT_COLUMNS = (frozenset(OUTPUT_COLUMNS) | {ESCAPED}) - frozenset(INPUT_COLUMNS)

_JOINTS = re.compile(r"[\s_\ufeff-]+")
_ASKED = {_JOINTS.sub("", name): name for name in (*INPUT_COLUMNS, *PARAMETER_COLUMNS)}


def bare(name: str) -> str:
    """A column's name without what people write in one way or another: case, spaces, underscores, hyphens."""
    return _JOINTS.sub("", name).lower()


def alike(name: str, columns: Iterable[str]) -> list[str]:
    """The columns of just that name, or that are written nearly so."""
    return [column for column in columns if column == name or (bare(name) and bare(column) == bare(name))]


def only_alike(name: str, columns: Iterable[str]) -> str | None:
    """The column of just that name, or the only one that is written nearly so; None: there is none, or a doubt."""
    found = alike(name, columns)
    return name if name in found else found[0] if len(found) == 1 else None


def meant_by(name: str) -> str | None:
    """The input column that a name can only mean: ``clip_id`` for ``Clip ID``; None: none."""
    return _ASKED.get(bare(name))
