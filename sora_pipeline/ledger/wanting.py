"""What a production's manifest wants, written down when it is read: all of it, in stretches, within one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, case, literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite

from sora_pipeline.clip import Clip, clip_key
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.database import CHUNK, IN_STRETCHES, chunks
from sora_pipeline.ledger.migrations.earlier_fingerprints import fingerprint_0002
from sora_pipeline.ledger.rows import spec_of
from sora_pipeline.ledger.schema import attempts, clips
from sora_pipeline.scratch import Scratch
from sora_pipeline.streams import stretches


def register(connection: Connection, production_id: str, wanted: Sequence[Clip]) -> None:
    """Make these, in this order, the clips that a production wants, within the caller's transaction.

    A clip whose fingerprint changed begins a new round: its attempts count anew. Clips that the manifest no longer
    names stay known, with their attempts, but are not submitted any more.
    """
    connection.execute(update(clips).where(clips.c.production_id == production_id).values(active=False))
    for stretch in stretches(enumerate(wanted)):
        write_clips(connection, production_id, stretch)
    count_production(connection, production_id)


def stop_others(connection: Connection, production_id: str, wanted: Sequence[Clip]) -> None:
    """Let nothing be submitted of a production but these clips, as they are here, within the caller's transaction.

    The next reading wants the others again where its manifest does.
    """
    present = select(clips.c.clip_key, clips.c.clip_id, clips.c.fingerprint).where(
        clips.c.production_id == production_id, clips.c.active
    )
    if connection.execute(present.limit(1)).first() is None:
        return
    scratch = Scratch(
        "CREATE TABLE wanted (clip_id TEXT PRIMARY KEY, fingerprint TEXT) WITHOUT ROWID;"
        "CREATE TABLE others (clip_key TEXT);"
    )
    for clip in wanted:
        scratch.execute("INSERT OR REPLACE INTO wanted VALUES (?, ?)", (clip.clip_id, clip.fingerprint))
    found = False
    for row in connection.execute(present, execution_options=IN_STRETCHES):
        fingerprint = scratch.execute(
            "SELECT fingerprint FROM wanted WHERE clip_id = ?", (row.clip_id,)
        ).fetchone()
        if fingerprint != (row.fingerprint,):
            scratch.execute("INSERT INTO others VALUES (?)", (row.clip_key,))
            found = True
    others = (key for (key,) in scratch.execute("SELECT clip_key FROM others"))
    for chunk in stretches(others, CHUNK):
        connection.execute(update(clips).where(clips.c.clip_key.in_(chunk)).values(active=False))
    if found:
        count_production(connection, production_id)


def write_clips(connection: Connection, production_id: str, wanted: Sequence[tuple[int, Clip]]) -> None:
    """Want these clips, each at its position in the manifest, within the caller's transaction."""
    rows = [
        {
            "clip_key": clip_key(production_id, clip.clip_id),
            "production_id": production_id,
            "clip_id": clip.clip_id,
            "active": True,
            "position": position,
            "round": 1,
            "fingerprint": clip.fingerprint,
            "spec": spec_of(clip),
        }
        for position, clip in wanted
    ]
    if rows:
        _recognise(connection, {clip_key(production_id, clip.clip_id): clip for _, clip in wanted})
        connection.execute(_upsert(connection), rows)


def _recognise(connection: Connection, wanted: Mapping[str, Clip]) -> None:
    """Give attempts that know one of these clips by its fingerprint of an earlier version the one of this version.

    The migration could do so only for rows that it knew: not for those of a production that another had taken them from,
    nor for rows that were changed, and are now changed back.
    """
    columns = (attempts.c.clip_key, attempts.c.fingerprint, attempts.c.provider, attempts.c.simulated)
    for chunk in chunks(list(wanted)):
        query = select(*columns).where(attempts.c.clip_key.in_(chunk)).distinct()
        for row in connection.execute(query).all():
            clip = wanted[row.clip_key]
            if row.fingerprint == clip.fingerprint or row.fingerprint != fingerprint_0002(
                spec_of(clip), row.provider
            ):
                continue
            present = replace(clip, simulated=row.simulated).fingerprint
            for table in (attempts, clips):
                connection.execute(
                    update(table)
                    .where(table.c.clip_key == row.clip_key, table.c.fingerprint == row.fingerprint)
                    .values(fingerprint=present)
                )


def _upsert(connection: Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(clips)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=[clips.c.clip_key],
        set_={
            "active": new.active,
            "position": new.position,
            # Literals, since a statement of many rows can hold no parameter outside them.
            "round": clips.c.round
            + case((clips.c.fingerprint != new.fingerprint, literal_column("1")), else_=literal_column("0")),
            "refusals": case(
                (clips.c.fingerprint != new.fingerprint, literal_column("0")), else_=clips.c.refusals
            ),
            "fingerprint": new.fingerprint,
            "spec": new.spec,
        },
    )
    # psycopg2 sends many rows in one statement only where something is returned.
    return statement.returning(clips.c.clip_key) if connection.dialect.name == "postgresql" else statement
