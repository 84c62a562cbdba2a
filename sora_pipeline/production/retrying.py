"""Decides, for a person who asks, which clips are tried once more, and makes the ledger want them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sora_pipeline.ledger import AttemptState, ClipStanding, Ledger
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore


@dataclass(slots=True)
class Retried:
    """What a retry does with each clip.

    Attributes:
        anew: Clips that begin a new attempt, and cost again.
        fetched: Clips whose rendered video is fetched (or polled for) once more, and cost nothing.
        held: Clips that may have been billed and were not named, so they stay as they are.
        fine: Clips that were named and need nothing: delivered, pending or under way.
        unknown: Ids that no manifest names, or no longer.
    """

    anew: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    fine: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def retry_clips(ledger: Ledger, settings: Settings, named: Iterable[str]) -> Retried:
    """Let failed clips go on: those named, or all that the manifests still want.

    An ambiguous clip, whose submit lost its answer, is paid for again only where it is named.
    """
    named = list(dict.fromkeys(named))
    retried = Retried()
    known = ledger.clips.standings(named) if named else ledger.clips.wanted()
    standings = {clip_id: standing for clip_id, standing in known.items() if standing.active}
    retried.unknown = [clip_id for clip_id in named if clip_id not in standings]
    for clip_id, standing in standings.items():
        _retry(ledger, settings, clip_id, standing, retried, by_name=bool(named))
    ledger.clips.new_round(retried.anew)
    return retried


def _retry(
    ledger: Ledger,
    settings: Settings,
    clip_id: str,
    standing: ClipStanding,
    retried: Retried,
    *,
    by_name: bool,
) -> None:
    latest = standing.latest
    state = latest.state if latest else None
    if latest is not None and state is AttemptState.AMBIGUOUS:
        if not by_name:
            retried.held.append(clip_id)
            return
        message = f"{latest.error_message}; given up by a person, who had it submitted again"
        ledger.attempts.fail(
            latest.attempt_id, latest.error_kind or "", message, retryable=False, reported=True
        )
        retried.anew.append(clip_id)
    elif latest is not None and state is AttemptState.TIMED_OUT:
        ledger.attempts.resume(latest.attempt_id, settings.generation_timeout_s)
        retried.fetched.append(clip_id)
    elif latest is not None and state is AttemptState.SUCCEEDED and latest.reported_at is not None:
        ledger.attempts.fetch_again(latest.attempt_id)
        retried.fetched.append(clip_id)
    elif by_name and standing.delivered and latest is not None and not latest.live and _lost(standing):
        ledger.attempts.fetch_lost(standing.delivered.attempt_id)
        retried.fetched.append(clip_id)
    elif standing.delivered or (latest and latest.live) or standing.pending(settings.max_attempts):
        retried.fine.append(clip_id)
    else:
        retried.anew.append(clip_id)


def _lost(standing: ClipStanding) -> bool:
    """Whether a delivered clip's file is gone, or is no longer what was stored."""
    delivered = standing.delivered
    assert delivered is not None
    store = OutputStore(delivered.output_uri or standing.output_uri)
    try:
        return store.sha256(delivered.file_name or "") != delivered.sha256
    except FileNotFoundError:
        return True
