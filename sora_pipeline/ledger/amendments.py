"""Amendments: rows that a person mended apart from the campaign's manifest. Each stands until the campaign's own row changes.

All within the caller's transaction: what is wanted must never be half amended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from sora_pipeline.clip import Clip, clip_key
from sora_pipeline.ledger.clips import write_clips
from sora_pipeline.ledger.rows import clip_of, spec_of
from sora_pipeline.ledger.schema import amendments, clips, productions


@dataclass(frozen=True, slots=True)
class Amendment:
    """A row that a person mended.

    Attributes:
        clip: What it asks for.
        row_hash: Of the campaign's own row as it was then; None: not known, the next reading notes it.
    """

    clip: Clip
    row_hash: str | None


def amendments_of(connection: Connection, production_id: str) -> dict[str, Amendment]:
    """A production's amendments by clip id, whether they still stand or not."""
    query = select(amendments, clips.c.clip_id).join(clips, clips.c.clip_key == amendments.c.clip_key)
    rows = connection.execute(query.where(amendments.c.production_id == production_id)).all()
    return {row.clip_id: Amendment(clip_of(row.clip_id, row.spec), row.row_hash) for row in rows}


def amended(
    known: Mapping[str, Amendment], wanted: Sequence[Clip], invalid: Mapping[str, str]
) -> tuple[list[Clip], set[str]]:
    """What a manifest asks for with the rows that were amended in the place of its own, and the ids of those rows.

    An amendment stands until the campaign's own row changes, or is there no more.

    Args:
        known: A production's amendments.
        wanted: The manifest's clips.
        invalid: Rows that cannot be used: the id they are reported under, and a hash of the row.
    """
    hashes = {clip.clip_id: _own_hash(clip) for clip in wanted} | dict(invalid)
    standing = {
        clip_id: amendment.clip
        for clip_id, amendment in known.items()
        if clip_id in hashes and amendment.row_hash in (None, hashes[clip_id])
    }
    own = {clip.clip_id for clip in wanted}
    kept = [
        _in_place_of(clip, replace(standing[clip.clip_id], simulated=clip.simulated))
        if clip.clip_id in standing
        else clip
        for clip in wanted
    ]
    kept += [clip for clip_id, clip in standing.items() if clip_id not in own]
    return sorted(kept, key=lambda clip: clip.row_number), set(standing)


def standing_amendments(
    connection: Connection,
    production_id: str,
    wanted: Sequence[Clip],
    invalid: Mapping[str, str],
    *,
    simulated: bool,
) -> list[Clip]:
    """What a manifest asks for, with the amended rows that still stand; the others are dropped.

    Args:
        connection: Of the caller's transaction.
        production_id: The production.
        wanted: The manifest's clips.
        invalid: Rows that cannot be used: the id they are reported under, and a hash of the row.
        simulated: Whether an emulator makes the production now.
    """
    known = amendments_of(connection, production_id)
    kept, standing = amended(known, wanted, invalid)
    hashes = {clip.clip_id: _own_hash(clip) for clip in wanted} | dict(invalid)
    for clip_id in known:
        this_clip = amendments.c.clip_key == clip_key(production_id, clip_id)
        if clip_id in standing:
            connection.execute(update(amendments).where(this_clip).values(row_hash=hashes[clip_id]))
        else:
            connection.execute(delete(amendments).where(this_clip))
    return [replace(clip, simulated=simulated) for clip in kept]


def amend(
    connection: Connection,
    production_id: str,
    manifest_uri: str,
    mended: Sequence[Clip],
    invalid: Mapping[str, str],
    now: datetime,
) -> None:
    """Let mended rows take the place of the campaign's; rows that say what they said before change nothing.

    Args:
        connection: Of the caller's transaction.
        production_id: The production.
        manifest_uri: The file in which they were mended.
        mended: The clips that they ask for.
        invalid: The campaign's rows that could not be used: id and hash of the row.
        now: The present.
    """
    of_production = clips.c.production_id == production_id
    # The file may be read with an account of the other kind; what the production is made with is not changed by it.
    simulated = connection.scalar(
        select(productions.c.simulated).where(productions.c.production_id == production_id)
    )
    rows = {row.clip_id: row for row in connection.execute(select(clips).where(of_production)).all()}
    earlier = select(amendments.c.clip_key, amendments.c.row_hash)
    noted = connection.execute(earlier.where(amendments.c.production_id == production_id))
    hashes = {row.clip_key: row.row_hash for row in noted}
    last = connection.scalar(select(func.max(clips.c.position)).where(of_production)) or 0
    for number, given in enumerate(mended, start=1):
        row, key = rows.get(given.clip_id), clip_key(production_id, given.clip_id)
        present = clip_of(row.clip_id, row.spec) if row is not None and row.active else None
        clip = replace(given, simulated=bool(simulated))
        clip = clip if present is None else _in_place_of(present, clip)
        if present is not None and _same(present, clip):
            continue
        if key in hashes:  # mended before: what stands there now is not the campaign's own row
            own = hashes[key]
        else:
            own = invalid.get(given.clip_id) or (_own_hash(present) if present else None)
        write_clips(connection, production_id, [(row.position if row else last + number, clip)])
        connection.execute(delete(amendments).where(amendments.c.clip_key == key))
        connection.execute(
            amendments.insert().values(
                clip_key=key,
                production_id=production_id,
                manifest_uri=manifest_uri,
                amended_at=now,
                row_hash=own,
                spec=spec_of(clip),
            )
        )


def _own_hash(clip: Clip) -> str:
    """Of a campaign's row, whoever makes it: going from the sandbox to a real account changes no row."""
    return replace(clip, simulated=False).row_hash


def _in_place_of(present: Clip, given: Clip) -> Clip:
    """The mended clip where the campaign has it; its takes are rows of their own in the file that was mended."""
    return replace(given, row_number=present.row_number, take=present.take)


def _same(present: Clip, clip: Clip) -> bool:
    texts = [{name: _text(value) for name, value in version.carried.items()} for version in (present, clip)]
    return present.fingerprint == clip.fingerprint and present.image == clip.image and texts[0] == texts[1]


def _text(value: Any) -> str:
    """CSV knows no types: what was a number is text when it comes back."""
    return "" if value is None else str(value)
