"""Clips that a person marked bad: which of them are made anew, and which need something else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sora_pipeline.clip import Clip, clip_key, split_clip_key
from sora_pipeline.ledger import Ledger
from sora_pipeline.manifest.picks import Mark, Pick
from sora_pipeline.production.finish import withdraw_if_going_on
from sora_pipeline.settings import Settings

_MOST_CHARS = 300


@dataclass(slots=True)
class Picked:
    """What a file of picks asks for.

    Attributes:
        anew: By key: clips that are delivered, and whose very video was marked bad, with the attempt that made it.
        clips: What these ask for, and so cost again.
        without_video: Keys of clips that were marked bad and have no video: a retry as of any other clip that failed.
        since: Keys of clips that were made anew since they were marked; somebody has to look at the new video first.
        unknown: Picks of clips or productions that are not among those that are meant, or that no manifest wants any more.
    """

    anew: dict[str, tuple[int, Pick]] = field(default_factory=dict)
    clips: list[Clip] = field(default_factory=list)
    without_video: list[str] = field(default_factory=list)
    since: list[str] = field(default_factory=list)
    unknown: list[Pick] = field(default_factory=list)


def bad_clips(ledger: Ledger, productions: Sequence[str], picks: Iterable[Pick]) -> Picked:
    """What becomes of the clips that are marked bad; changes nothing.

    Args:
        ledger: The ledger.
        productions: The productions that are meant.
        picks: All picks of a file.
    """
    bad = {clip_key(pick.production, pick.clip_id): pick for pick in picks if pick.mark is Mark.BAD}
    standings = ledger.clips.standings(key for key, pick in bad.items() if pick.production in productions)
    picked = Picked()
    for key, pick in bad.items():
        standing = standings.get(key)
        if standing is None or not standing.active:
            picked.unknown.append(pick)
            continue
        delivered, latest = standing.delivered, standing.latest
        video = None if delivered is None else delivered.result.video
        if delivered is None or video is None:
            picked.without_video.append(key)
        elif video.file_name != pick.file_name or (latest is not None and latest.live):
            picked.since.append(key)
        else:
            picked.anew[key] = delivered.attempt_id, pick
            picked.clips.append(standing.clip)
    return picked


def make_anew(ledger: Ledger, settings: Settings, picked: Picked) -> list[str]:
    """Have these clips made once more, at their price: what they had stays a file, and is delivered no longer; their keys.

    A clip whose video was rejected by somebody else meanwhile is left to them.
    """
    rejected = [
        key
        for key, (attempt_id, pick) in picked.anew.items()
        if ledger.attempts.reject(attempt_id, _why(pick))
    ]
    ledger.clips.new_round(rejected)
    for production_id in {split_clip_key(key)[0] for key in rejected}:
        withdraw_if_going_on(ledger, ledger.productions.get(production_id), settings)
    return rejected


def _why(pick: Pick) -> str:
    note = " ".join(pick.note.split())[:_MOST_CHARS]
    return f"a person marked its video {pick.file_name} bad{f': {note}' if note else ''}"
