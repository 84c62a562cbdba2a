"""Counters: how many clips of a production stand how, and what its attempts come to by day, kept in the transaction that changes it.

A look at a production, and its budget, then take a handful of rows, however many clips it has. Whether a clip is paid for is not
asked here: a reservation looks at the clip and its attempts themselves.

Whoever counts locks the production's row before it reads how clips stand now, so that of two at once the later one sees what
the earlier one did; differences are added by the database. Reading a manifest counts its production anew.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Date,
    Insert,
    Row,
    RowMapping,
    Select,
    Table,
    and_,
    bindparam,
    case,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from sora_pipeline.ledger.database import chunks
from sora_pipeline.ledger.schema import (
    DELIVERED,
    LIVE,
    attempts,
    charges,
    clip_counts,
    clips,
    productions,
)
from sora_pipeline.ledger.types import GIVEN_UP, LIVE_STATES, AttemptState
from sora_pipeline.status import CANCELLED, ClipStatus

BILLED = or_(attempts.c.accepted_at.is_not(None), attempts.c.possibly_billed)
"""What the provider accepted, or may have: it counts as spent, whatever became of it."""
NOT_SENT = date.min
"""The day of what was not sent, or is to be sent once more."""


# ---- what decides how a clip and an attempt count


def _attempts_in_round() -> tuple[ColumnElement[int], ColumnElement[bool]]:
    """How many attempts a clip's present round has, and whether the newest of them lets another begin."""
    tried = attempts.alias("tried")
    in_round = and_(tried.c.clip_key == clips.c.clip_key, tried.c.round == clips.c.round)
    tries = select(func.count()).select_from(tried).where(in_round)
    newest = select(tried.c.retryable).where(in_round).order_by(tried.c.number.desc()).limit(1)
    return tries.correlate(clips).scalar_subquery(), newest.correlate(clips).scalar_subquery()


def _standing() -> ColumnElement[str]:
    """How a clip stands: what its live attempt is at, else how it ended; the rule of ``ClipStanding`` in SQL.

    Pending is here also what has no attempt left: how many it may have is a setting.
    """
    of_clip = attempts.c.clip_key == clips.c.clip_key
    given_up = and_(attempts.c.state == AttemptState.SUCCEEDED, attempts.c.reported_at.is_not(None))
    live = select(case((given_up, GIVEN_UP), else_=attempts.c.state)).where(of_clip, LIVE)
    delivered = select(1).where(of_clip, DELIVERED, attempts.c.fingerprint == clips.c.fingerprint)
    tries, may_again = _attempts_in_round()
    return func.coalesce(
        live.correlate(clips).scalar_subquery(),
        case(
            (delivered.correlate(clips).exists(), ClipStatus.DELIVERED),
            (clips.c.cancelled_round == clips.c.round, CANCELLED),
            (or_(tries == 0, may_again), ClipStatus.PENDING),
            else_=ClipStatus.FAILED,
        ),
    )


_STANDING, _TRIES = _standing(), _attempts_in_round()[0]
_COUNTED = (
    clips.c.production_id,
    clips.c.standing,
    clips.c.tries,
    clips.c.spec["model"].as_string().label("model"),
    clips.c.spec["duration"].as_integer().label("duration"),
    clips.c.spec["size"].as_string().label("size"),
)
"""Where a clip counts in ``clip_counts``."""

_RESERVED = attempts.c.state == AttemptState.RESERVED
_SENT = and_(~_RESERVED, or_(attempts.c.state.in_(LIVE_STATES), BILLED))
_CHARGED = (
    attempts.c.clip_key,
    attempts.c.production_id,
    attempts.c.account,
    attempts.c.simulated,
    case(
        (_RESERVED, NOT_SENT), else_=func.coalesce(func.date(attempts.c.submitted_at, type_=Date), NOT_SENT)
    ).label("day"),
    *(
        case((condition, attempts.c.cost_micros), else_=0).label(amount)
        for condition, amount in (
            (_RESERVED, "reserved_micros"),
            (_SENT, "sent_micros"),
            (BILLED, "billed_micros"),
        )
    ),
)
"""An attempt's clip, and where and how much the attempt counts in ``charges``."""


# ---- what transitions call, within their transaction


def lock_productions(connection: Connection, production_ids: Iterable[str] | Select[tuple[str]]) -> None:
    """Let nobody else count these until the transaction ends; SQLite has one writer at a time anyway.

    Before any of their clips and attempts is changed: two orders could lock each other out.
    """
    if connection.dialect.name == "postgresql":
        query = select(productions.c.production_id).where(productions.c.production_id.in_(production_ids))
        connection.execute(query.order_by(productions.c.production_id).with_for_update(key_share=True))


def lock_productions_of(connection: Connection, attempt_ids: Iterable[int]) -> None:
    """The same for the productions of attempts that are to be changed.

    What is read afterwards says what their manifests want now. Without it, a transition could be decided by what was wanted before
    somebody else's change of it that ends while the transition waits to be counted: a clip that is wanted no longer would be sent.
    """
    these = attempts.c.attempt_id.in_(list(attempt_ids))
    lock_productions(connection, select(attempts.c.production_id).where(these))


def charges_of(connection: Connection, attempt_ids: Iterable[int]) -> list[RowMapping]:
    """What attempts come to, each with its clip; nobody else changes them until the transaction ends.

    By a SELECT, and not by what a change returns: SQLite 3.40 took ``accepted_at IS NOT NULL`` for true there where it was null.
    """
    found: list[RowMapping] = []
    for chunk in chunks(sorted(attempt_ids)):
        query = select(*_CHARGED).where(attempts.c.attempt_id.in_(chunk)).order_by(attempts.c.attempt_id)
        found += connection.execute(query.with_for_update(key_share=True)).mappings()
    return found


def count_attempts(
    connection: Connection, attempt_ids: Iterable[int], before: Sequence[RowMapping] = ()
) -> None:
    """Count what became of attempts, and how their clips stand now; the caller has locked their productions.

    Args:
        connection: Of the caller's transaction.
        attempt_ids: The attempts that were changed, begun or given up.
        before: ``charges_of`` them before that; nothing of those that are new.
    """
    after = charges_of(connection, attempt_ids)
    count_clips(connection, [row["clip_key"] for row in (*before, *after)])
    differences: dict[tuple[Any, ...], Counter[str]] = {}
    for sign, rows in ((-1, before), (1, after)):
        for row in rows:
            place = tuple(row[column.name] for column in charges.primary_key)
            amounts = {name: sign * row[name] for name in _amounts(charges)}
            differences.setdefault(place, Counter()).update(amounts)
    _add(connection, charges, differences)


def count_clips(connection: Connection, keys: Iterable[str]) -> None:
    """Note how these clips stand now, and count them so; the caller has locked their productions."""
    ordered = sorted(set(keys))
    differences: dict[tuple[Any, ...], Counter[str]] = {}
    for chunk in chunks(ordered):
        query = select(
            *_COUNTED,
            clips.c.clip_key,
            clips.c.active,
            _STANDING.label("standing_now"),
            _TRIES.label("tries_now"),
        ).where(clips.c.clip_key.in_(chunk))
        moved = [
            row
            for row in connection.execute(query)
            if (row.standing, row.tries) != (row.standing_now, row.tries_now)
        ]
        _note(connection, moved)
        for row in (row for row in moved if row.active):
            price = (row.model, row.duration, row.size)
            for count, place in (
                (-1, (row.production_id, row.standing, row.tries, *price)),
                (1, (row.production_id, row.standing_now, row.tries_now, *price)),
            ):
                differences.setdefault(place, Counter()).update(clips=count)
    _add(connection, clip_counts, differences)


def count_production(connection: Connection, production_id: str) -> None:
    """Count all of a production anew, after a change of what it wants."""
    lock_productions(connection, [production_id])
    connection.execute(
        update(clips)
        .where(clips.c.production_id == production_id)
        .where(or_(clips.c.standing != _STANDING, clips.c.tries != _TRIES))
        .values(standing=_STANDING, tries=_TRIES)
    )
    for table, counted in (
        (clip_counts, counted_clips(production_id)),
        (charges, counted_charges(production_id)),
    ):
        connection.execute(delete(table).where(table.c.production_id == production_id))
        connection.execute(table.insert().from_select(table.columns.keys(), counted))


def counted_clips(production_id: str) -> Select[Any]:
    """What ``clip_counts`` should hold of a production."""
    each = select(*_COUNTED).where(clips.c.production_id == production_id, clips.c.active).subquery()
    return select(*each.c, func.count().label("clips")).group_by(*each.c)


def counted_charges(production_id: str) -> Select[Any]:
    """What ``charges`` should hold of a production."""
    each = select(*_CHARGED).where(attempts.c.production_id == production_id).subquery()
    place = [each.c[column.name] for column in charges.primary_key]
    amounts = [func.sum(each.c[name]).label(name) for name in _amounts(charges)]
    return select(*place, *amounts).group_by(*place)


# ---- how it is done


def _note(connection: Connection, moved: Sequence[Row[Any]]) -> None:
    """Write down how clips stand now."""
    if moved:
        connection.execute(
            update(clips)
            .where(clips.c.clip_key == bindparam("key"))
            .values(standing=bindparam("standing_now"), tries=bindparam("tries_now")),
            [
                {"key": row.clip_key, "standing_now": row.standing_now, "tries_now": row.tries_now}
                for row in moved
            ],
        )


def _amounts(table: Table) -> list[str]:
    return [column.name for column in table.columns if not column.primary_key]


def _add(connection: Connection, table: Table, differences: dict[tuple[Any, ...], Counter[str]]) -> None:
    """Add to counters; to those that are not there yet as well."""
    places = [column.name for column in table.primary_key]
    rows = [
        dict(zip(places, place, strict=True)) | dict(amounts)
        for place, amounts in sorted(differences.items())
        if any(amounts.values())
    ]
    if rows:
        connection.execute(_adding(table, connection.dialect.name), rows)


@cache
def _adding(table: Table, dialect: str) -> Insert | ReturningInsert[Any]:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    sums = {name: table.c[name] + statement.excluded[name] for name in _amounts(table)}
    adding = statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums)
    # psycopg2 sends many rows in one statement only where something is returned.
    return adding.returning(*table.primary_key) if dialect == "postgresql" else adding
