"""What Dagster shows of one clip in each of its two assets."""

import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import dagster as dg

from sora_pipeline.ledger import Attempt
from sora_pipeline.uris import shown_uri

_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~:@]")
NEVER_BEGUN = "never begun"
"""The state of a clip without any attempt."""


@dataclass(frozen=True, slots=True)
class Done:
    """What is to be logged for one clip that is as it should be."""

    metadata: Mapping[str, Any]
    data_version: str


def generation(attempt: Attempt, *, fresh: bool) -> Done:
    """A clip that has a prediction; ``fresh``: the run at hand submitted it."""
    metadata: dict[str, Any] = {
        **_submission(attempt),
        "provider_status": attempt.polling.provider_status or "",
        "request": dg.MetadataValue.json(dict(attempt.submission.request or {})),
        "submitted_by_this_run": fresh,
    }
    if (poll_url := _poll_url(attempt)) is not None:
        metadata["poll_url"] = poll_url
    return Done(metadata, attempt.fingerprint)


def video(attempt: Attempt) -> Done:
    """A clip whose video is stored."""
    stored, accepted_at = attempt.result.video, attempt.submission.accepted_at
    metadata: dict[str, Any] = {}
    if stored is not None:
        metadata |= {"video": dg.MetadataValue.path(stored.uri), **asdict(stored.facts)}
    metadata |= _submission(attempt)
    if accepted_at and attempt.result.completed_at:
        metadata["render_s"] = (attempt.result.completed_at - accepted_at).total_seconds()
    return Done(metadata, stored.facts.sha256 if stored else attempt.fingerprint)


def _submission(attempt: Attempt) -> dict[str, Any]:
    """What was sent where, and what it costs."""
    accepted_at = attempt.submission.accepted_at
    queued = {} if accepted_at is None else {"queue_s": (accepted_at - attempt.reserved_at).total_seconds()}
    return {
        "production": attempt.production_id,
        "clip_id": attempt.clip_id,
        "account": attempt.account.name,
        "provider": attempt.account.provider,
        "simulated": attempt.account.simulated,
        "prediction_id": attempt.submission.prediction_id or "",
        "model": attempt.model,
        "model_returned": attempt.submission.model_returned or "",
        "fingerprint": attempt.fingerprint,
        "cost_usd": float(attempt.cost_usd),
        "attempt": attempt.number,
        **queued,
    }


def _poll_url(attempt: Attempt) -> str | None:
    """Where it is polled; None where that has a signature, and also for a ledger made again: that polls it by its id."""
    url = attempt.submission.poll_url
    return url if url is not None and shown_uri(url) == url else None


def cell(text: str, most: int = 160) -> str:
    """A text of others as a cell of a Markdown table: as it is, on one line, and nothing in it is markup or loaded."""
    line = " ".join(text.split())
    short = line if len(line) <= most else f"{line[: most - 1]}…"
    return _MARKUP.sub(r"\\\g<0>", html.escape(short, quote=False))


def ended(attempt: Attempt | None) -> dict[str, Any]:
    """What is known of an attempt without a video: enough to write it into a ledger again, should that be lost."""
    if attempt is None:
        return {"state": NEVER_BEGUN}
    failure = attempt.failure
    facts = {
        "state": str(attempt.state),
        "error_kind": failure.kind if failure else None,
        "error_message": failure.message if failure else None,
        "retryable": failure.retryable if failure else None,
        "possibly_billed": attempt.possibly_billed,
        **_submission(attempt),
        "prediction_id": attempt.submission.prediction_id,
        "model_returned": attempt.submission.model_returned,
        "poll_url": _poll_url(attempt),
    }
    return {name: value for name, value in facts.items() if value is not None}
