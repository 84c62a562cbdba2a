"""What commands say of a ``--clip`` that is no clip: that its row cannot be used, where there is such a row."""

from contextlib import suppress
from typing import TYPE_CHECKING

from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.manifest.snapshot import InvalidRow


def why_unknown(ledger: "Ledger", productions: "Iterable[Production]", names: "Sequence[str]") -> list[str]:
    """Why names are no clips', one sentence each.

    Args:
        ledger: The ledger.
        productions: Those that are meant.
        names: Clip ids, or keys: ``production:clip_id``.
    """
    found: dict[str, list[str]] = {name: [] for name in names}
    for production in productions if names else ():
        unusable = dict(_unusable(ledger, production, names))
        for name, sentence in (dict(_left_out(ledger, production, names)) | unusable).items():
            found[name].append(sentence)
    return [
        f"--clip {name}: {sentence}"
        for name, sentences in found.items()
        for sentence in sentences
        or ["no manifest that was read names this clip; `sora-pipeline status` lists them"]
    ]


def _left_out(
    ledger: "Ledger", production: "Production", names: "Sequence[str]"
) -> "Iterator[tuple[str, str]]":
    """Those names that are a clip's of this production which its manifest had before and has no more, and that it is so."""
    keys = {
        name: clip_key(production.production_id, clip_id)
        for name in names
        if (clip_id := _clip_id(name, production.production_id))
    }
    known = ledger.clips.standings(keys.values())
    for name, key in keys.items():
        if key in known and not known[key].active:
            yield (
                name,
                f"{production.manifest_uri} does not ask for this clip of {production.production_id} any more, as it did when it was read "
                "before. Put its row right, and run that file again",
            )


def _unusable(
    ledger: "Ledger", production: "Production", names: "Sequence[str]"
) -> "Iterator[tuple[str, str]]":
    """Those names that are a row's of this production which cannot be used, and what is wrong with the row."""
    from sora_pipeline.production.invalid_rows import invalid_rows

    meant: dict[str, list[str]] = {}
    for name in names:
        if clip_id := _clip_id(name, production.production_id):
            meant.setdefault(clip_id, []).append(name)
    with suppress(StoreError):  # the clip is unknown all the same
        for bad, reported_id in invalid_rows(ledger, production):
            for clip_id in {bad.clip_id, reported_id} - {None}:
                for name in meant.get(str(clip_id), ()):
                    yield name, _sentence(production, bad)


def _clip_id(name: str, production_id: str) -> str | None:
    """The clip id that a name may be in a production; None: it is another's."""
    try:
        of_production, clip_id = split_clip_key(name)
    except ValueError:
        return name
    return clip_id if of_production == production_id else None


def _sentence(production: "Production", bad: "InvalidRow") -> str:
    wrong = "; ".join(f"column {each.column}: {each.message}" for each in bad.problems).rstrip(". ")
    end = "" if wrong.endswith("?") else "."
    return (
        f"its row cannot be used. {production.manifest_uri}, {bad.place}, {wrong}{end} Mend the row, and run that "
        "file again"
    )
