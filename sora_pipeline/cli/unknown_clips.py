"""What commands say of a ``--clip`` that is no clip: that its row cannot be used, where there is such a row."""

from typing import TYPE_CHECKING

from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.manifest.snapshot import InvalidRow


def why_unknown(ledger: "Ledger", productions: "Iterable[Production]", names: "Sequence[str]") -> list[str]:
    """Why names are no clips', one sentence each.

    Args:
        ledger: The ledger.
        productions: Those that are meant.
        names: Clip ids, or keys: ``production:clip_id``.
    """
    sentences = {
        name: f"--clip {name}: no manifest that was read names this clip; `sora-pipeline status` lists them"
        for name in names
    }
    for production in productions if names else ():
        sentences |= _left_out(ledger, production, names) | _unusable(ledger, production, names)
    return list(sentences.values())


def _left_out(ledger: "Ledger", production: "Production", names: "Sequence[str]") -> dict[str, str]:
    """Of those names that are a clip's of this production which its manifest had before and has no more: that it is so."""
    meant = {clip_id: name for name in names if (clip_id := _clip_id(name, production.production_id))}
    known = ledger.clips.standings([clip_key(production.production_id, clip_id) for clip_id in meant])
    return {
        meant[clip_id]: (
            f"--clip {meant[clip_id]}: {production.manifest_uri} names this clip of {production.production_id} no more, as it did when it was "
            "read before. Put the row back, and run that file again"
        )
        for clip_id in (each.clip.clip_id for each in known.values() if not each.active)
    }


def _unusable(ledger: "Ledger", production: "Production", names: "Sequence[str]") -> dict[str, str]:
    """Of those names that are a row's of this production which cannot be used: what is wrong with the row."""
    from sora_pipeline.production.invalid_rows import invalid_rows

    meant = {clip_id: name for name in names if (clip_id := _clip_id(name, production.production_id))}
    try:
        return {
            meant[clip_id]: _sentence(meant[clip_id], production, bad)
            for bad, reported_id in invalid_rows(ledger, production)
            for clip_id in (bad.clip_id, reported_id)
            if clip_id in meant
        }
    except StoreError:  # the clip is unknown all the same
        return {}


def _clip_id(name: str, production_id: str) -> str | None:
    """The clip id that a name may be in a production; None: it is another's."""
    try:
        of_production, clip_id = split_clip_key(name)
    except ValueError:
        return name
    return clip_id if of_production == production_id else None


def _sentence(name: str, production: "Production", bad: "InvalidRow") -> str:
    wrong = "; ".join(f"column {each.column}: {each.message}" for each in bad.problems).rstrip(". ")
    end = "" if wrong.endswith("?") else "."
    return (
        f"--clip {name}: its row cannot be used. {production.manifest_uri}, {bad.place}, {wrong}{end} Mend the row, and run that "
        "file again"
    )
