"""Amendments: rows that a person mended apart from the campaign's manifest. Each stands until the campaign's own row changes.

All within the caller's transaction: what is wanted must never be half amended.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from sora_pipeline.clip import Clip, clip_key
from sora_pipeline.ledger.database import chunks
from sora_pipeline.ledger.rows import clip_of, spec_of
from sora_pipeline.ledger.schema import amendments, clips, productions
from sora_pipeline.ledger.wanting import write_clips
from sora_pipeline.streams import Streamed


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


@dataclass(frozen=True, slots=True)
class Amended:
    """What a manifest asks for with the rows that were amended in the place of its own.

    Attributes:
        clips: In the manifest's order.
        standing: The ids of amended rows that still stand, and what the campaign's own rows say: a hash.
    """

    clips: Sequence[Clip]
    standing: Mapping[str, str]


def amended(
    known: Mapping[str, Amendment],
    wanted: Sequence[Clip],
    invalid: Mapping[str, str],
    numbers: Mapping[str, int],
) -> Amended:
    """What a manifest asks for with the rows that were amended in the place of its own.

    An amendment stands until the campaign's own row changes, or is there no more.

    Args:
        known: A production's amendments.
        wanted: The manifest's clips, by row.
        invalid: Rows that cannot be used: the id they are reported under, and a hash of the row.
        numbers: Where those rows are now.
    """
    if not known:
        return Amended(wanted, {})
    own = {clip.clip_id: _own_hash(clip) for clip in wanted if clip.clip_id in known}
    hashes = own | {clip_id: row_hash for clip_id, row_hash in invalid.items() if clip_id in known}
    standing = {
        clip_id: hashes[clip_id]
        for clip_id, amendment in known.items()
        if clip_id in hashes and amendment.row_hash in (None, hashes[clip_id])
    }
    added = sorted(
        (
            replace(clip, row_number=numbers.get(clip_id, clip.row_number))
            for clip_id, clip in ((each, known[each].clip) for each in standing if each not in own)
        ),
        key=lambda clip: clip.row_number,
    )

    def kept(clip: Clip) -> Clip:
        if clip.clip_id not in standing:
            return clip
        return _in_place_of(clip, replace(known[clip.clip_id].clip, simulated=clip.simulated))

    def clips() -> Iterator[Clip]:
        return heapq.merge(map(kept, wanted), added, key=lambda clip: clip.row_number)

    return Amended(Streamed(len(wanted) + len(added), clips), standing)


def standing_amendments(
    connection: Connection,
    production_id: str,
    wanted: Sequence[Clip],
    invalid: Mapping[str, str],
    numbers: Mapping[str, int],
    *,
    simulated: bool,
) -> Sequence[Clip]:
    """What a manifest asks for, with the amended rows that still stand; the others are dropped.

    Args:
        connection: Of the caller's transaction.
        production_id: The production.
        wanted: The manifest's clips, by row.
        invalid: Rows that cannot be used: the id they are reported under, and a hash of the row.
        numbers: Where those rows are now.
        simulated: Whether an emulator makes the production now.
    """
    known = amendments_of(connection, production_id)
    with_amended = amended(known, wanted, invalid, numbers)
    for clip_id in known:
        this_clip = amendments.c.clip_key == clip_key(production_id, clip_id)
        own_row = with_amended.standing.get(clip_id)
        if own_row is not None:
            connection.execute(update(amendments).where(this_clip).values(row_hash=own_row))
        else:
            connection.execute(delete(amendments).where(this_clip))

    def made_now(clip: Clip) -> Clip:
        return clip if clip.simulated == simulated else replace(clip, simulated=simulated)

    clips_now = with_amended.clips
    return Streamed(len(clips_now), lambda: map(made_now, clips_now))


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
    rows, hashes = _present(connection, [clip_key(production_id, clip.clip_id) for clip in mended])
    last = connection.scalar(select(func.max(clips.c.position)).where(of_production)) or 0
    for number, given in enumerate(mended, start=1):
        key = clip_key(production_id, given.clip_id)
        row = rows.get(key)
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


def _present(connection: Connection, keys: list[str]) -> tuple[dict[str, Row[Any]], dict[str, str | None]]:
    """The rows of these clips, and what the campaign's own rows were of those among them that were amended before."""
    rows: dict[str, Row[Any]] = {}
    hashes: dict[str, str | None] = {}
    earlier = select(amendments.c.clip_key, amendments.c.row_hash)
    for chunk in chunks(keys):
        found = connection.execute(select(clips).where(clips.c.clip_key.in_(chunk))).all()
        rows |= {row.clip_key: row for row in found}
        noted = connection.execute(earlier.where(amendments.c.clip_key.in_(chunk)))
        hashes |= {row.clip_key: row.row_hash for row in noted}
    return rows, hashes


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
