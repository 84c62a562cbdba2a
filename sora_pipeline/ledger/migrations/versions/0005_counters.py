"""How far each clip is, and counters of clips and money, so that a look at a production does not count them all."""

from datetime import date
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_LIVE = ("reserved", "submitting", "in_flight", "succeeded", "ambiguous", "timed_out")
_NOT_SENT = date.min
_WAITING = "active AND standing = 'pending'"

_CLIPS = sa.table(
    "clips",
    sa.column("clip_key", sa.String),
    sa.column("production_id", sa.String),
    sa.column("active", sa.Boolean),
    sa.column("round", sa.Integer),
    sa.column("fingerprint", sa.String),
    sa.column("spec", sa.JSON),
    sa.column("standing", sa.String),
    sa.column("tries", sa.Integer),
)
_ATTEMPTS = sa.table(
    "attempts",
    sa.column("clip_key", sa.String),
    sa.column("production_id", sa.String),
    sa.column("number", sa.Integer),
    sa.column("round", sa.Integer),
    sa.column("fingerprint", sa.String),
    sa.column("state", sa.String),
    sa.column("account", sa.String),
    sa.column("simulated", sa.Boolean),
    sa.column("cost_micros", sa.BigInteger),
    sa.column("submitted_at", sa.DateTime),
    sa.column("accepted_at", sa.DateTime),
    sa.column("reported_at", sa.DateTime),
    sa.column("retryable", sa.Boolean),
    sa.column("possibly_billed", sa.Boolean),
)


def upgrade() -> None:
    """Write down how clips stand, count them and what was paid, and keep only what is still looked up in indexes."""
    op.drop_index("open_clips", "clips")
    op.drop_column("clips", "settled")
    op.add_column("clips", sa.Column("standing", sa.String(16), nullable=False, server_default="pending"))
    op.add_column("clips", sa.Column("tries", sa.Integer(), nullable=False, server_default="0"))
    op.execute(sa.update(_CLIPS).values(standing=_standing(), tries=_attempts_in_round()[0]))
    where = sa.text(_WAITING)
    op.create_index(
        "waiting_clips",
        "clips",
        ["production_id", "position"],
        sqlite_where=where,
        postgresql_where=where,
    )
    _count_clips()
    _add_up_charges()
    op.drop_index("attempts_by_production", "attempts")
    op.create_index("attempts_by_production", "attempts", ["production_id"])
    op.drop_index("attempts_by_day", "attempts")
    op.create_index("attempts_by_submit", "attempts", ["account", "submitted_at"])


def _attempts_in_round() -> tuple[sa.ColumnElement[int], sa.ColumnElement[bool]]:
    tried = _ATTEMPTS.alias("tried")
    in_round = sa.and_(tried.c.clip_key == _CLIPS.c.clip_key, tried.c.round == _CLIPS.c.round)
    tries = sa.select(sa.func.count()).select_from(tried).where(in_round)
    newest = sa.select(tried.c.retryable).where(in_round).order_by(tried.c.number.desc()).limit(1)
    return tries.correlate(_CLIPS).scalar_subquery(), newest.correlate(_CLIPS).scalar_subquery()


def _standing() -> sa.ColumnElement[str]:
    of_clip = _ATTEMPTS.c.clip_key == _CLIPS.c.clip_key
    given_up = sa.and_(_ATTEMPTS.c.state == "succeeded", _ATTEMPTS.c.reported_at.is_not(None))
    states = sa.select(sa.case((given_up, "given_up"), else_=_ATTEMPTS.c.state))
    live = states.where(of_clip, _ATTEMPTS.c.state.in_(_LIVE))
    delivered = sa.select(1).where(of_clip, _ATTEMPTS.c.state == "collected")
    delivered = delivered.where(_ATTEMPTS.c.fingerprint == _CLIPS.c.fingerprint)
    tries, may_again = _attempts_in_round()
    return sa.func.coalesce(
        live.correlate(_CLIPS).scalar_subquery(),
        sa.case(
            (delivered.correlate(_CLIPS).exists(), "delivered"),
            (sa.or_(tries == 0, may_again), "pending"),
            else_="failed",
        ),
    )


def _count_clips() -> None:
    table = op.create_table(
        "clip_counts",
        sa.Column(
            "production_id", sa.String(64), sa.ForeignKey("productions.production_id"), primary_key=True
        ),
        sa.Column("standing", sa.String(16), primary_key=True),
        sa.Column("tries", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("duration", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("size", sa.Text(), primary_key=True),
        sa.Column("clips", sa.BigInteger(), nullable=False),
    )
    each = (
        sa.select(
            _CLIPS.c.production_id,
            _CLIPS.c.standing,
            _CLIPS.c.tries,
            _CLIPS.c.spec["model"].as_string().label("model"),
            _CLIPS.c.spec["duration"].as_integer().label("duration"),
            _CLIPS.c.spec["size"].as_string().label("size"),
        )
        .where(_CLIPS.c.active)
        .subquery()
    )
    _insert(table, sa.select(*each.c, sa.func.count()).group_by(*each.c))


def _add_up_charges() -> None:
    table = op.create_table(
        "charges",
        sa.Column(
            "production_id", sa.String(64), sa.ForeignKey("productions.production_id"), primary_key=True
        ),
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("simulated", sa.Boolean(), primary_key=True),
        sa.Column("day", sa.Date(), primary_key=True),
        sa.Column("reserved_micros", sa.BigInteger(), nullable=False),
        sa.Column("sent_micros", sa.BigInteger(), nullable=False),
        sa.Column("billed_micros", sa.BigInteger(), nullable=False),
    )
    op.create_index("charges_by_day", "charges", ["account", "day"])
    a = _ATTEMPTS.c
    reserved = a.state == "reserved"
    billed = sa.or_(a.accepted_at.is_not(None), a.possibly_billed)
    sent = sa.and_(~reserved, sa.or_(a.state.in_(_LIVE), billed))
    submitted_on = sa.func.coalesce(sa.func.date(a.submitted_at, type_=sa.Date), _NOT_SENT)
    each = sa.select(
        a.production_id,
        a.account,
        a.simulated,
        sa.case((reserved, _NOT_SENT), else_=submitted_on).label("day"),
        *(
            sa.case((condition, a.cost_micros), else_=0).label(f"amount_{number}")
            for number, condition in enumerate((reserved, sent, billed))
        ),
    ).subquery()
    place = (each.c.production_id, each.c.account, each.c.simulated, each.c.day)
    amounts = [sa.func.sum(each.c[f"amount_{number}"]) for number in range(3)]
    _insert(table, sa.select(*place, *amounts).group_by(*place))


def _insert(table: sa.Table | None, rows: sa.Select[Any]) -> None:
    assert table is not None
    op.execute(table.insert().from_select(table.columns.keys(), rows))
