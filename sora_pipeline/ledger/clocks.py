"""When a moment in the ledger is over, also where it was written by a clock that ran ahead and was set back since."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, or_

FURTHEST_S = 1200.0
"""Nothing that is waited for reaches further ahead: leases and polls are planned for ten minutes at most, and an extra
wait for a few more. A moment that does was planned by a clock that was wrong, and would hold up everybody until then."""


def is_over(moment: datetime, now: datetime) -> bool:
    """Whether nobody need wait for this moment any more."""
    return not now < moment <= now + timedelta(seconds=FURTHEST_S)


def over(column: ColumnElement[Any], now: datetime) -> ColumnElement[bool]:
    """The same as a condition; a moment that is now is not over here."""
    return or_(column < now, column > now + timedelta(seconds=FURTHEST_S))
