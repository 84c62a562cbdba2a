"""Breakers: why nothing is submitted to a provider at the moment, known to every process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from sora_pipeline.ledger.database import Database
from sora_pipeline.ledger.schema import breakers


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open breaker: submits stop, polling and collecting go on.

    Attributes:
        provider: The provider it stops.
        kind: The error kind that opened it, for example ``no_balance``.
        message: The provider's words, for people.
        opened_at: Since when.
    """

    provider: str
    kind: str
    message: str
    opened_at: datetime


class Breakers:
    """Opens, reads and closes breakers."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def open(self, provider: str, kind: str, message: str) -> None:
        """Stop submits to a provider; an open breaker keeps its first time."""
        with self._database.exclusive() as connection:
            known = connection.execute(select(breakers).where(breakers.c.provider == provider)).first()
            if known is None:
                connection.execute(
                    breakers.insert().values(
                        provider=provider, kind=kind, message=message, opened_at=self._now()
                    )
                )

    def get(self, provider: str) -> Breaker | None:
        """The provider's open breaker, if any."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(breakers).where(breakers.c.provider == provider)).mappings().first()
            )
        return None if row is None else Breaker(**row)

    def close(self, provider: str) -> bool:
        """Let submits go on; whether there was anything to close."""
        with self._database.write() as connection:
            gone = connection.execute(delete(breakers).where(breakers.c.provider == provider))
        return gone.rowcount > 0
