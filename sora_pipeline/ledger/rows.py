"""Between SQL rows and typed values."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger.types import Attempt, AttemptState, Production


def spec_of(clip: Clip) -> dict[str, Any]:
    """A clip as the JSON that the ledger keeps."""
    return {
        "row_number": clip.row_number,
        "prompt": clip.prompt,
        "image": clip.image,
        "image_sha256": clip.image_sha256,
        "model": clip.model,
        "provider": clip.provider,
        "duration": clip.duration,
        "size": str(clip.size),
        "take": clip.take,
        "carried": dict(clip.carried),
    }


def clip_of(clip_id: str, spec: Mapping[str, Any]) -> Clip:
    """The clip that ``spec_of`` wrote."""
    return Clip(clip_id=clip_id, **{**spec, "size": Size.parse(spec["size"])})


def attempt_of(row: RowMapping) -> Attempt:
    """A row of ``attempts``."""
    return Attempt(**{**row, "state": AttemptState(row["state"])})


def production_of(row: RowMapping) -> Production:
    """A row of ``productions``."""
    return Production(**row)
