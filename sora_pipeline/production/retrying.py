"""Decides, for a person who asks, which clips are tried once more, and makes the ledger want them."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.production.decisions import Retry, Said, is_stuck, retry_of
from sora_pipeline.production.finish import withdraw_if_going_on
from sora_pipeline.production.stuck import give_up as give_up_attempt
from sora_pipeline.settings import Settings
from sora_pipeline.status import CANCELLED
from sora_pipeline.store import OutputStore
from sora_pipeline.suggestions import did_you_mean

Ask = Callable[[Sequence[Attempt]], Mapping[int, Said]]
_COSTS = (Retry.ANEW, Retry.GIVE_UP_AND_ANEW)


class AmbiguousClipError(SoraPipelineError):
    """Raised where a clip id is that of clips in several productions, and it is not said which is meant."""

    def __init__(self, clip_id: str, productions: list[str]) -> None:
        super().__init__(
            f"several productions have a clip of the id {clip_id} ({', '.join(productions)})",
            "clip_of_several",
        )
        self.clip_id = clip_id
        self.productions = productions


class UnknownKindError(SoraPipelineError):
    """Raised where no clip failed with the error kind that a person names, or with several of such names."""

    def __init__(self, kind: str, known: Mapping[str, int]) -> None:
        shown = ", ".join(f"{name} ({count})" for name, count in sorted(known.items()))
        said = (
            "is not clear"
            if any(kind.lower() in name for name in known)
            else "is no kind that clips failed with"
        )
        there_are = f"{said}; there are: {shown}" if known else "cannot be meant: no clip has failed"
        super().__init__(f"{kind} {there_are}.{did_you_mean(kind, known)}", "unknown_kind")


@dataclass(slots=True)
class Retried:
    """What a retry does with each clip, by its key.

    Attributes:
        anew: Clips that begin a new attempt, and cost again.
        first: Those of them for which nothing was ever submitted: they were cancelled before.
        fetched: Clips whose rendered video is fetched (or polled for) once more, and cost nothing.
        rendering: Those of them that the provider still renders, with the attempt: a person may rather give that up.
        given_up: Those begun anew whose prediction was given up, with the attempt: it was, or may have been, billed.
        held: Clips that may have been billed and were not named, so they stay as they are.
        uncancelled: Clips that were cancelled, are at the provider all the same, and may be begun again should that fail.
        cancelled: Clips that a person cancelled, and that are neither named nor asked for by that kind.
        elsewhere: The same, of which the account is known that can still tell: another than their production's now.
        fine: Clips that were named and need nothing: delivered, pending or under way.
        unknown: Names that are no clip's, or no longer.
        since: Clips that would cost, and are none of those whose price was agreed to; they are left.
        changed: Clips that became something else while this was decided; nothing was done about them.
    """

    anew: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    rendering: dict[str, Attempt] = field(default_factory=dict)
    given_up: dict[str, Attempt] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    uncancelled: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    elsewhere: dict[str, str] = field(default_factory=dict)
    fine: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    since: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    @property
    def submitted(self) -> str:
        """What happens to those that begin anew, as a participle."""
        return "submitted" if self.first else "submitted again"


def retry_clips(
    ledger: Ledger,
    settings: Settings,
    productions: Iterable[str],
    named: Iterable[str],
    *,
    marked: Collection[str] = (),
    kind: str = "",
    ask: Ask = lambda _: {},
    give_up: bool = False,
    agreed: Collection[str] | None = None,
    dry_run: bool = False,
) -> Retried:
    """Let failed clips go on: those named, or all that the productions still want.

    A clip whose submit lost its answer, or whose prediction is past its deadline at an account that its production is no
    longer made by, is paid for again only where it is named.

    Args:
        ledger: The ledger.
        settings: The settings.
        productions: The productions that are meant.
        named: Clip keys, or clip ids that only one of these productions has; neither these nor marked ones: all that failed.
        marked: Keys of clips that are meant although nobody has named them one by one.
        kind: Only those that failed with this error kind, or the one whose name holds these letters; empty: whatever it was.
        ask: Asks the provider once more for predictions that no run waits for any more, and says by attempt id what it said.
        give_up: Rather pay for another than wait for such a prediction, where the clip is named.
        agreed: The clips that may cost; None: whichever do. Others may have failed since their price was said.
        dry_run: Only find out what it comes to: nothing is changed but what the provider says when it is asked.

    Raises:
        AmbiguousClipError: a clip id is that of clips in several of these productions.
        UnknownKindError: no clip failed with that kind, or clips failed with several of such names.
    """
    productions, retried = list(productions), Retried()
    keys, retried.unknown = clips_named(ledger, productions, named)
    if keys or retried.unknown or marked:
        standings = ledger.clips.standings([*keys, *marked])
    else:
        standings = {}
        for production_id in productions:
            standings |= ledger.clips.unsettled(production_id)
    if kind:
        standings = _of_kind(standings, kind)
    uncancel = bool(kind) and all(standing.cancelled for standing in standings.values())
    to_ask = [
        standing.latest
        for key, standing in standings.items()
        if standing.latest and _is_to_be_asked(standing.latest, give_up=give_up and key in keys)
    ]
    said = ask(to_ask)
    if said:
        standings = ledger.clips.standings(standings)
    accounts = {name: ledger.productions.get(name).account for name in productions}
    for key, standing in standings.items():
        file_lost = key in keys and standing.delivered is not None and _is_lost(standing)
        retry = retry_of(
            standing,
            account=accounts[standing.production_id],
            named=key in keys,
            uncancel=uncancel,
            file_lost=file_lost,
            max_attempts=settings.max_attempts,
            said=_said_of(standing, said),
            give_up=give_up,
        )
        if agreed is not None and key not in agreed and retry in _COSTS:
            retried.since.append(key)
            continue
        if not dry_run and not _do(ledger, settings, standing, retry):
            retried.changed.append(key)
            continue
        if retry is Retry.RESUME and standing.latest and _said_of(standing, said) is Said.RUNNING:
            retried.rendering[key] = standing.latest
        _note(key, standing, retry, retried)
        if retry is Retry.NOTHING and standing.cancelled and (uncancel or key in keys):
            retried.uncancelled.append(key)
    if not dry_run:
        ledger.clips.new_round([*retried.anew, *retried.uncancelled])
        for production_id in {split_clip_key(key)[0] for key in (*retried.anew, *retried.fetched)}:
            withdraw_if_going_on(ledger, ledger.productions.get(production_id), settings)
    return retried


def _of_kind(standings: Mapping[str, ClipStanding], kind: str) -> dict[str, ClipStanding]:
    """Those that failed with an error kind."""
    kinds = {key: found for key, standing in standings.items() if (found := _kind_of(standing))}
    known = Counter(kinds.values())
    meant = [kind] if kind in known else [name for name in known if kind.lower() in name]
    if len(meant) != 1:
        raise UnknownKindError(kind, known)
    return {key: standings[key] for key, found in kinds.items() if found == meant[0]}


def _kind_of(standing: ClipStanding) -> str | None:
    if standing.cancelled:
        return CANCELLED
    failure = standing.latest.failure if standing.latest else None
    return failure.kind if failure else None


def _is_to_be_asked(attempt: Attempt, *, give_up: bool) -> bool:
    """Whether what becomes of a clip hangs on what the provider says of its prediction now."""
    return is_stuck(attempt) or (give_up and attempt.state is AttemptState.IN_FLIGHT)


def _said_of(standing: ClipStanding, said: Mapping[int, Said]) -> Said:
    """What the provider said of a clip's newest prediction."""
    return said.get(standing.latest.attempt_id, Said.NO_ANSWER) if standing.latest else Said.NO_ANSWER


def clips_named(
    ledger: Ledger, productions: Sequence[str], names: Iterable[str]
) -> tuple[list[str], list[str]]:
    """The keys of the clips that a person means by their ids or keys, and the names that are no clip's, or no longer.

    Raises:
        AmbiguousClipError: a clip id is that of clips in several of these productions.
    """
    keys: list[str] = []
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        key = _key_of(ledger, productions, name)
        keys += [] if key is None else [key]
        unknown += [name] if key is None else []
    return keys, unknown


def _key_of(ledger: Ledger, productions: Sequence[str], name: str) -> str | None:
    try:
        production_id, clip_id = split_clip_key(name)
    except ValueError:
        wanted = [clip_key(production_id, name) for production_id in productions]
    else:
        wanted = [clip_key(production_id, clip_id)] if production_id in productions else []
    matches = [key for key, standing in ledger.clips.standings(wanted).items() if standing.active]
    if len(matches) > 1:
        raise AmbiguousClipError(name, sorted(split_clip_key(key)[0] for key in matches))
    return matches[0] if matches else None


def _note(key: str, standing: ClipStanding, retry: Retry, retried: Retried) -> None:
    """Note what is done about one clip."""
    latest = standing.latest
    match retry:
        case Retry.HOLD:
            retried.held.append(key)
        case Retry.HOLD_CANCELLED:
            retried.cancelled.append(key)
        case Retry.HOLD_ELSEWHERE if latest is not None:
            retried.elsewhere[key] = latest.account.name
        case Retry.NOTHING:
            retried.fine.append(key)
        case Retry.ANEW:
            retried.anew.append(key)
            retried.first += [key] if latest is None else []
        case Retry.GIVE_UP_AND_ANEW if latest is not None:
            retried.given_up[key] = latest
            retried.anew.append(key)
        case _:
            retried.fetched.append(key)


def _do(ledger: Ledger, settings: Settings, standing: ClipStanding, retry: Retry) -> bool:
    """Do what one clip needs; a new round is begun for all of them together. False: it is no longer what it was decided for."""
    latest, attempts = standing.latest, ledger.attempts
    match retry:
        case Retry.GIVE_UP_AND_ANEW if latest is not None:
            return give_up_attempt(ledger, latest, "a person had it submitted again")
        case Retry.RESUME if latest is not None:
            return attempts.resume(latest.attempt_id, settings.generation_timeout_s)
        case Retry.FETCH if latest is not None:
            return attempts.fetch_again(latest.attempt_id)
        case Retry.FETCH_LOST if standing.delivered is not None:
            return attempts.fetch_lost(standing.delivered.attempt_id)
        case _:
            return True


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
