"""The ledger as callers see it: productions, clips and attempts in one database."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property

from sqlalchemy import select

from sora_pipeline.ledger.accounts import Accounts
from sora_pipeline.ledger.attempts import Attempts
from sora_pipeline.ledger.batches import Batches
from sora_pipeline.ledger.breakers import Breakers
from sora_pipeline.ledger.cancellations import Cancellations
from sora_pipeline.ledger.clips import Clips
from sora_pipeline.ledger.database import Database
from sora_pipeline.ledger.notifications import Notifications
from sora_pipeline.ledger.older import Older
from sora_pipeline.ledger.paused import Paused
from sora_pipeline.ledger.pauses import Pauses
from sora_pipeline.ledger.pipelines import Pipelines
from sora_pipeline.ledger.productions import Productions
from sora_pipeline.ledger.recent import Recent
from sora_pipeline.ledger.restore import Restore
from sora_pipeline.ledger.schema import about
from sora_pipeline.ledger.server_clock import ServerClock
from sora_pipeline.ledger.spending import Money
from sora_pipeline.ledger.surveys import Surveys
from sora_pipeline.ledger.turns import Turns
from sora_pipeline.ledger.verdicts import Verdicts


def utc_now() -> datetime:
    """The present, aware."""
    return datetime.now(UTC)


class Ledger:
    """Opens (and where needed creates or upgrades) the ledger at an SQLAlchemy URL.

    Args:
        url: ``sqlite:///path`` or ``postgresql+psycopg2://…``.
        now: The clock; None: that of the database server, or of this machine where the ledger is SQLite.

    Raises:
        LedgerError: it cannot be opened, or belongs to a newer version.
    """

    def __init__(self, url: str, *, now: Callable[[], datetime] | None = None) -> None:
        self.database = Database(url)
        if now is None:
            now = utc_now if self.database.is_sqlite else ServerClock(self.database)
        self.now = now
        self.accounts = Accounts(self.database, now)
        self.pipelines = Pipelines(self.database, now)
        self.productions = Productions(self.database, now)
        self.clips = Clips(self.database, now)
        self.attempts = Attempts(self.database, now)
        self.batches = Batches(self.database, now)
        self.breakers = Breakers(self.database, now)
        self.money = Money(self.database, now)
        self.pauses = Pauses(self.database, now)
        self.turns = Turns(self.database, now)
        self.paused = Paused(self.database, now)
        self.cancellations = Cancellations(self.database, now)
        self.notifications = Notifications(self.database, now)
        self.restore = Restore(self.database)
        self.older = Older(self.database, now)
        self.recent = Recent(self.database, now)
        self.surveys = Surveys(self.database)
        self.verdicts = Verdicts(self.database, now)

    @cached_property
    def ledger_id(self) -> str:
        """This ledger's own name, which every output that it owns repeats."""
        with self.database.read() as connection:
            return str(connection.scalar(select(about.c.ledger_id)))

    def close(self) -> None:
        """Give the connections back."""
        self.database.engine.dispose()
