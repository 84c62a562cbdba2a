"""The present by the clock of the database server, so that machines whose own clocks disagree agree on leases, deadlines and turns."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from sora_pipeline.ledger.database import Database

AGAIN_S = 60.0
"""Seconds after which the server is asked once more."""
PATIENCE_S = 1.0
"""Seconds for which a thread waits for another one's answer before it goes by the last one."""
STEP_S = 1.0
"""So far this machine's clock and its count of seconds may drift apart: more says that the clock was set, or that the machine slept."""


class ServerClock:
    """Asks the server now and then, and counts on from there.

    Args:
        database: A PostgreSQL database.
    """

    def __init__(self, database: Database) -> None:
        # A connection of its own: whoever asks has one already, and with the last of a pool he would wait for himself.
        self._engine = create_engine(database.engine.url, poolclass=NullPool)
        self._asking = threading.Lock()
        self._asked: tuple[datetime, float, float] | None = None

    def __call__(self) -> datetime:
        """The present, aware."""
        asked = self._asked
        if asked is None or self._is_stale(asked):
            asked = self._asked_once()
            if asked is None:
                return datetime.now(UTC)
        moment, monotonic_s, _ = asked
        return moment + timedelta(seconds=time.monotonic() - monotonic_s)

    def _asked_once(self) -> tuple[datetime, float, float] | None:
        """What the server says to one of the threads that want to know; None: it has never said anything."""
        if self._asking.acquire(timeout=PATIENCE_S):
            try:
                if self._asked is None or self._is_stale(self._asked):
                    with suppress(DBAPIError):  # away for a moment: what it said last still holds
                        self._asked = self._ask()
            finally:
                self._asking.release()
        return self._asked

    def _ask(self) -> tuple[datetime, float, float]:
        before = time.monotonic()
        with self._engine.connect() as connection:
            moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        after = time.monotonic()
        # It was that late when the answer was half way.
        return moment.astimezone(UTC), (before + after) / 2, time.time() - time.monotonic()

    def _is_stale(self, asked: tuple[datetime, float, float]) -> bool:
        _, monotonic_s, apart = asked
        stepped = abs(time.time() - time.monotonic() - apart) > STEP_S
        return stepped or time.monotonic() - monotonic_s > AGAIN_S
