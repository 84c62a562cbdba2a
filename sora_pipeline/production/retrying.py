"""Decides, for a person who asks, which clips are tried once more, and makes the ledger want them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.production.decisions import Retry, Said, is_stuck, retry_of
from sora_pipeline.production.stuck import give_up as give_up_attempt
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore

Ask = Callable[[Sequence[Attempt]], Mapping[int, Said]]


class AmbiguousClipError(SoraPipelineError):
    """Raised where a clip id is that of clips in several productions, and it is not said which is meant."""

    def __init__(self, clip_id: str, productions: list[str]) -> None:
        super().__init__(
            f"several productions have a clip of the id {clip_id} ({', '.join(productions)})",
            "clip_of_several",
        )
        self.clip_id = clip_id
        self.productions = productions


@dataclass(slots=True)
class Retried:
    """What a retry does with each clip, by its key.

    Attributes:
        anew: Clips that begin a new attempt, and cost again.
        fetched: Clips whose rendered video is fetched (or polled for) once more, and cost nothing.
        rendering: Those of them that the provider still renders, with the attempt: a person may rather give that up.
        given_up: Those begun anew whose prediction was given up, with the attempt: it was, or may have been, billed.
        held: Clips that may have been billed and were not named, so they stay as they are.
        elsewhere: The same, of which the account is known that can still tell: another than their production's now.
        fine: Clips that were named and need nothing: delivered, pending or under way.
        unknown: Names that are no clip's, or no longer.
    """

    anew: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    rendering: dict[str, Attempt] = field(default_factory=dict)
    given_up: dict[str, Attempt] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)
    fine: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def retry_clips(
    ledger: Ledger,
    settings: Settings,
    productions: Iterable[str],
    named: Iterable[str],
    *,
    ask: Ask = lambda _: {},
    give_up: bool = False,
) -> Retried:
    """Let failed clips go on: those named, or all that the productions still want.

    A clip whose submit lost its answer, or whose prediction is past its deadline at an account that its production is no
    longer made by, is paid for again only where it is named.

    Args:
        ledger: The ledger.
        settings: The settings.
        productions: The productions that are meant.
        named: Clip keys, or clip ids that only one of these productions has; none: all that failed.
        ask: Asks the provider once more for predictions that no run waits for any more, and says by attempt id what it said.
        give_up: Rather pay for another than wait for such a prediction, where the clip is named.

    Raises:
        AmbiguousClipError: a clip id is that of clips in several of these productions.
    """
    productions, retried = list(productions), Retried()
    keys: list[str] = []
    for name in dict.fromkeys(named):
        keys += _keys_of(ledger, productions, name, retried)
    if keys or retried.unknown:
        standings = ledger.clips.standings(keys)
    else:
        standings = {}
        for production_id in productions:
            standings |= ledger.clips.unsettled(production_id)
    said = ask(
        [
            standing.latest
            for key, standing in standings.items()
            if standing.latest and _is_to_be_asked(standing.latest, give_up=give_up and key in keys)
        ]
    )
    if said:
        standings = ledger.clips.standings(standings)
    accounts = {name: ledger.productions.get(name).account for name in productions}
    for key, standing in standings.items():
        file_lost = key in keys and standing.delivered is not None and _is_lost(standing)
        retry = retry_of(
            standing,
            account=accounts[standing.production_id],
            named=key in keys,
            file_lost=file_lost,
            max_attempts=settings.max_attempts,
            said=_said_of(standing, said),
            give_up=give_up,
        )
        if retry is Retry.RESUME and standing.latest and _said_of(standing, said) is Said.RUNNING:
            retried.rendering[key] = standing.latest
        _do(ledger, settings, key, standing, retry, retried)
    ledger.clips.new_round(retried.anew)
    return retried


def _is_to_be_asked(attempt: Attempt, *, give_up: bool) -> bool:
    """Whether what becomes of a clip hangs on what the provider says of its prediction now."""
    return is_stuck(attempt) or (give_up and attempt.state is AttemptState.IN_FLIGHT)


def _said_of(standing: ClipStanding, said: Mapping[int, Said]) -> Said:
    """What the provider said of a clip's newest prediction."""
    return said.get(standing.latest.attempt_id, Said.NO_ANSWER) if standing.latest else Said.NO_ANSWER


def _keys_of(ledger: Ledger, productions: list[str], name: str, retried: Retried) -> list[str]:
    """The one clip that a person means by its id, or by its key."""
    try:
        production_id, clip_id = split_clip_key(name)
    except ValueError:
        wanted = [clip_key(production_id, name) for production_id in productions]
    else:
        wanted = [clip_key(production_id, clip_id)] if production_id in productions else []
    matches = [key for key, standing in ledger.clips.standings(wanted).items() if standing.active]
    if len(matches) > 1:
        raise AmbiguousClipError(name, [split_clip_key(key)[0] for key in matches])
    if not matches:
        retried.unknown.append(name)
    return matches


def _do(
    ledger: Ledger, settings: Settings, key: str, standing: ClipStanding, retry: Retry, retried: Retried
) -> None:
    """Do what one clip needs, and note it."""
    latest, attempts = standing.latest, ledger.attempts
    match retry:
        case Retry.HOLD:
            retried.held.append(key)
        case Retry.HOLD_ELSEWHERE if latest is not None:
            retried.elsewhere[key] = latest.account.name
        case Retry.NOTHING:
            retried.fine.append(key)
        case Retry.ANEW:
            retried.anew.append(key)
        case Retry.GIVE_UP_AND_ANEW if latest is not None:
            give_up_attempt(ledger, latest, "a person had it submitted again")
            retried.given_up[key] = latest
            retried.anew.append(key)
        case Retry.RESUME if latest is not None:
            attempts.resume(latest.attempt_id, settings.generation_timeout_s)
            retried.fetched.append(key)
        case Retry.FETCH if latest is not None:
            attempts.fetch_again(latest.attempt_id)
            retried.fetched.append(key)
        case Retry.FETCH_LOST if standing.delivered is not None:
            attempts.fetch_lost(standing.delivered.attempt_id)
            retried.fetched.append(key)
        case _:
            raise AssertionError(f"{retry} needs an attempt")


def _is_lost(standing: ClipStanding) -> bool:
    """Whether a delivered clip's file is gone, or is no longer what was stored."""
    video = standing.delivered.result.video if standing.delivered else None
    if video is None:
        return False
    try:
        return (
            OutputStore(video.output_uri or standing.output_uri).sha256(video.file_name) != video.facts.sha256
        )
    except FileNotFoundError:
        return True
