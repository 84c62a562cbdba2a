"""Migrates a ledger to this version's schema, unless a process of an earlier version is at work with it.

Such a process would go on with statements for the schema as it was: one that has just sent a paid request could not note the answer.
"""

from datetime import UTC, datetime
from importlib import resources

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, Table, func, inspect, select, text

from sora_pipeline.ledger.clocks import over
from sora_pipeline.ledger.database import LedgerError, version_of
from sora_pipeline.ledger.pipelines import FRESH
from sora_pipeline.ledger.schema import VERSION_TABLE, UtcDateTime

_LEASES = ("attempts", "batches")


def lock_version(connection: Connection) -> None:
    """Wait for whoever writes, who has read the version in the same transaction, and let none begin; SQLite has one writer."""
    if connection.dialect.name == "postgresql" and inspect(connection).has_table(VERSION_TABLE):
        connection.execute(text(f"LOCK TABLE {VERSION_TABLE} IN ACCESS EXCLUSIVE MODE"))


def upgrade(connection: Connection, shown_url: str, wanted: str) -> None:
    """Bring the schema to this version's, within the caller's transaction.

    Args:
        connection: Of a transaction that holds both locks.
        shown_url: The ledger, for people.
        wanted: This version's schema.

    Raises:
        LedgerError: processes of an earlier version are at work, or no version has written such a schema.
    """
    version = None
    if inspect(connection).has_table(VERSION_TABLE):
        version = version_of(connection)
        # Another process may have done it meanwhile, and be at work already.
        if version == wanted:
            return
        _require_nobody_at_work(connection, shown_url, version)
    _migrate(connection, shown_url, version)


def _require_nobody_at_work(connection: Connection, shown_url: str, version: str | None) -> None:
    """Refuse to migrate under processes of an earlier version.

    Raises:
        LedgerError: a run holds clips, or a daemon has shown itself.
    """
    tables = MetaData()
    tables.reflect(connection, only=lambda name, _: name in (*_LEASES, "pipelines"))
    now = _now(connection)
    until = [_held_until(connection, tables.tables[name], now) for name in _LEASES if name in tables.tables]
    if "pipelines" in tables.tables:
        until.append(_shown_until(connection, tables.tables["pipelines"], now))
    if busy := [moment for moment in until if moment is not None]:
        raise LedgerError(
            f"the ledger at {shown_url} has the schema {version} of an earlier version of sora-pipeline, and runs or a daemon of "
            f"that version are at work with it: it can be upgraded at {max(busy):%H:%M:%S} UTC, if they have ended by then. "
            "Nothing was changed",
            "ledger_at_work",
        )


def _migrate(connection: Connection, shown_url: str, version: str | None) -> None:
    with resources.as_file(resources.files("sora_pipeline.ledger") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except (CommandError, AssertionError):
            raise LedgerError(
                f"the ledger at {shown_url} has the schema {version!r}, which no version of sora-pipeline has "
                "written: it is damaged, or another program's. Nothing was changed."
            ) from None


def _now(connection: Connection) -> datetime:
    """The clock that leases go by: the server's, or this machine's where the ledger is SQLite."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    moment: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)


def _held_until(connection: Connection, table: Table, now: datetime) -> datetime | None:
    """When the last lease in a table ends, if one is not over; versions before leases had none."""
    if "lease_until" not in table.columns:
        return None
    lease = table.columns["lease_until"]
    lease.type = UtcDateTime()
    held = [lease.is_not(None), ~over(lease, now)]
    if "ended_at" in table.columns:
        held.append(table.columns["ended_at"].is_(None))
    moment: datetime | None = connection.scalar(select(func.max(lease)).where(*held))
    return moment


def _shown_until(connection: Connection, pipelines: Table, now: datetime) -> datetime | None:
    """Until when a daemon counts as at work, if one does."""
    seen = pipelines.columns["seen_at"]
    seen.type = UtcDateTime()
    last: datetime | None = connection.scalar(select(func.max(seen)))
    until = None if last is None else last + FRESH
    return until if until is not None and last is not None and last <= now < until else None
