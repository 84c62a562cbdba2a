"""Reservations that are given up: nothing was sent for them, so their clips are pending again, and slots and money free."""

from sqlalchemy import ColumnElement, Connection, select

from sora_pipeline.ledger.counters import charges_of, count_attempts
from sora_pipeline.ledger.database import chunks
from sora_pipeline.ledger.schema import LIVE, attempts
from sora_pipeline.ledger.types import AttemptState

_RESERVED = attempts.c.state == AttemptState.RESERVED


def give_up_reservations(connection: Connection, these: ColumnElement[bool]) -> None:
    """Give these attempts up as far as they are reservations, within the caller's transaction; their productions are locked."""
    reserved = connection.scalars(select(attempts.c.attempt_id).where(LIVE, these, _RESERVED)).all()
    for chunk in chunks(list(reserved)):
        before = charges_of(connection, chunk)
        connection.execute(attempts.delete().where(attempts.c.attempt_id.in_(chunk), _RESERVED))
        count_attempts(connection, chunk, before)
