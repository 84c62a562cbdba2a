"""Decides which production each piece of evidence is about. Before productions had names, partition keys were bare clip ids."""

from collections.abc import Iterable, Mapping, Sequence

from sora_pipeline.clip import clip_key
from sora_pipeline.recovery.clips import ProductionClips
from sora_pipeline.recovery.evidence import Evidence
from sora_pipeline.recovery.productions import ProductionHistory, read_last_before


def by_clip_key(
    evidence: Iterable[Evidence],
    histories: Sequence[ProductionHistory],
    clips: Mapping[str, ProductionClips],
) -> dict[str, list[Evidence]]:
    """All evidence, by the keys of the clips that it is about.

    Args:
        evidence: What Dagster remembers; whatever names a production names one of these.
        histories: The productions.
        clips: Their clips, by production.
    """
    assigned: dict[str, list[Evidence]] = {}
    for one in evidence:
        for name in [one.production_id] if one.production_id else _paid_for(one, histories, clips):
            assigned.setdefault(clip_key(name, one.clip_id), []).append(one)
    return assigned


def _paid_for(
    one: Evidence, histories: Sequence[ProductionHistory], clips: Mapping[str, ProductionClips]
) -> list[str]:
    """The productions of evidence that names none.

    Of several that ask for the clip, all that ask for just this video have it, so that none of them pays for it again;
    else the one that was read last before.
    """
    # One that began later has attempts of its own; its clips were never mere ids.
    old = [history for history in histories if history.had_no_name or history.last_read(one.at)] or histories
    naming = [history for history in old if clips[history.name].names(one.clip_id)]
    same = [
        history.name
        for history in naming
        if clips[history.name].present(one.clip_id, one.fingerprint) is not None
    ]
    if same:
        return same
    candidates = naming or old
    if one.video is not None:
        output_uri = one.video.output_uri.rstrip("/")
        candidates = [history for history in candidates if output_uri in history.outputs] or candidates
    return [read_last_before(candidates, one.at).name]
