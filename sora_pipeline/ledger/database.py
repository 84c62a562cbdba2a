"""Opening the ledger's database: dialect differences, transactions and the schema's version live here."""

import functools
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeft

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger.schema import VERSION_TABLE
from sora_pipeline.private_files import SQLITE_BEGINNING, close_to_others, make_private_file
from sora_pipeline.streams import STRETCH

SCHEMA_VERSION = "0010"
CHUNK = 500
"""Parameters of one IN list; every database takes that many."""
IN_STRETCHES: dict[str, Any] = {"yield_per": STRETCH}
"""How a statement is executed whose rows are too many to be held."""
BUSY_S = 60.0
"""How long an SQLite writer waits for the others."""
OUTAGE_S = 120.0
"""How long a database that was there may be away (a restart, a full disk) before that is an error."""
POOL_PATIENCE_S = 30.0
"""How long a thread waits at a time for a connection, where a process has more threads than those."""
LOOK_AGAIN_S = 0.25
AWAY_S = 1.0
"""Seconds after which whoever waits for a turn asks again, where the database cannot say."""
_NUMBER = re.compile(r"\d{4}")
"""How versions of the schema are written."""
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database file."""
_ADVISORY_LOCK = 0x50_4A_7A  # one writer at a time where a sum decides (slots, budget)


class LedgerError(SoraPipelineError):
    """Raised where the ledger cannot be opened or used; the text is for people and never holds a password."""


Answer = TypeVar("Answer")
Item = TypeVar("Item")
_Arguments = ParamSpec("_Arguments")


class _Table(Protocol):
    _database: "Database"


_TableType = TypeVar("_TableType", bound=_Table)


def patient(
    method: Callable[Concatenate[_TableType, _Arguments], Answer],
) -> Callable[Concatenate[_TableType, _Arguments], Answer]:
    """Let a question, or a transition that may as well happen twice, outlast a restart of the database."""

    @functools.wraps(method)
    def wrapper(table: _TableType, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Answer:
        return table._database.patiently(lambda: method(table, *args, **kwargs))  # noqa: SLF001

    return wrapper


class Database:
    """An engine and the kinds of transactions the ledger has."""

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        # A query may hold a password as well (``?password=…``), so none of it is shown.
        self.shown_url = parsed.set(query={}).render_as_string(hide_password=True)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        arguments: dict[str, Any] = {}
        if self.is_sqlite:
            if parsed.database and "memory" not in (parsed.query.get("mode"), parsed.database.strip(":")):
                self._make_private(Path(parsed.database.removeprefix("file:").partition("?")[0]))
            arguments["connect_args"] = {"timeout": BUSY_S}
        else:
            arguments["pool_timeout"] = POOL_PATIENCE_S
        try:
            self.engine: Engine = create_engine(
                parsed,
                pool_pre_ping=not self.is_sqlite,
                json_deserializer=_read_json,
                **arguments,
            )
        except (ImportError, ArgumentError) as error:
            raise LedgerError(
                f"the ledger at {self.shown_url} needs a driver that is not installed: {error}",
                "ledger_driver",
            ) from None
        if self.is_sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writing = threading.Lock()
        self._outage_s = 0.0  # one that was never there is an error at once
        self._migrated = False
        self._migrate()
        self._migrated = True
        self._outage_s = OUTAGE_S

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view; takes no lock."""
        # PostgreSQL would show each statement what others have committed since the one before.
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._named(), self._connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end; SQLite lets one writer in at a time.

        Raises:
            LedgerError: a newer version has migrated the ledger since this process opened it.
        """
        with (
            self._named(),
            self._one_after_the_other(),
            self._connect().execution_options(sora_write=True) as connection,
            connection.begin(),
        ):
            if self._migrated and (version := version_of(connection)) != SCHEMA_VERSION:
                raise LedgerError(
                    f"the ledger at {self.shown_url} was upgraded to the schema {version} while this process was at work, which "
                    f"knows {SCHEMA_VERSION}: it writes nothing further. End it, and start it again with the newer sora-pipeline"
                )
            yield connection

    @contextmanager
    def _one_after_the_other(self) -> Iterator[None]:
        """The writers of a process queue up here: SQLite has those wait that are in each other's way by sleeping, ever longer."""
        held = False
        try:
            held = self.is_sqlite and self._writing.acquire(timeout=BUSY_S)
            yield  # where nobody lets it in for so long, SQLite says what is wrong
        finally:
            if held:
                self._writing.release()

    @contextmanager
    def exclusive(self) -> Iterator[Connection]:
        """A write transaction that no other exclusive one overlaps, on any database."""
        with self.write() as connection:
            self._exclude_others(connection)
            yield connection

    def _exclude_others(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})

    def surely(self, transact: Callable[[], bool], landed: Callable[[], bool]) -> bool:
        """Run a transaction until the database takes it, through restarts, locks and full disks.

        For what must not be forgotten: money may hang on it.

        Args:
            transact: Opens and commits a transaction of its own; says whether it changed something.
            landed: Whether it was committed although its answer was lost.

        Raises:
            DBAPIError: the database was away for longer than ``OUTAGE_S``.
        """
        doubtful = False
        give_up = time.monotonic() + OUTAGE_S
        while True:
            try:
                # A try whose answer was lost may have been the one that changed it, even while this one began.
                return (doubtful and landed()) or transact() or (doubtful and landed())
            except DBAPIError as error:
                if not _away(error) or time.monotonic() > give_up:
                    raise
            doubtful = True
            time.sleep(LOOK_AGAIN_S)

    def patiently(self, ask: Callable[[], Answer]) -> Answer:
        """Do what can be done twice as well as once until the database answers, through its restarts.

        Raises:
            DBAPIError: the database was away for longer than ``OUTAGE_S``.
        """
        give_up = time.monotonic() + OUTAGE_S
        while True:
            try:
                return ask()
            except DBAPIError as error:
                # SQLite waits for locks by itself, and has no server that comes back.
                if self.is_sqlite or not _away(error) or time.monotonic() > give_up:
                    raise
            time.sleep(LOOK_AGAIN_S)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Says of an error which database it is about: a command works with Dagster's, too."""
        try:
            yield
        except DBAPIError as error:
            error.add_detail(f"the ledger at {self.shown_url}")
            raise

    def _connect(self) -> Connection:
        """A connection, as soon as there is one to be had: from the server, or from this process's other threads."""
        give_up = time.monotonic() + self._outage_s
        while True:
            try:
                return self.engine.connect()
            except OperationalError:
                if self.is_sqlite or time.monotonic() > give_up:
                    raise
                time.sleep(LOOK_AGAIN_S)
            except NoConnectionLeft as error:
                if time.monotonic() > give_up:
                    raise OperationalError(None, None, error) from None

    def _migrate(self) -> None:
        try:
            version = self._version()
            if version == SCHEMA_VERSION:
                return
            if version is not None and _NUMBER.fullmatch(version) and version > SCHEMA_VERSION:
                raise LedgerError(
                    f"the ledger at {self.shown_url} has schema {version}, newer than the {SCHEMA_VERSION} "
                    "this version of sora-pipeline knows. Install the newer sora-pipeline; nothing was changed."
                )
            self._upgrade()
        except DBAPIError as error:
            raise LedgerError(f"the ledger at {self.shown_url} cannot be opened: {error.orig}") from None

    def _version(self) -> str | None:
        with self.read() as connection:
            tables = inspect(connection).get_table_names()
            if VERSION_TABLE not in tables:
                # It may share a database with others that keep their own version, as Dagster's storage does.
                if self.is_sqlite and tables and "alembic_version" not in tables:
                    raise LedgerError(
                        f"the file at {self.shown_url} is another program's database, with the table {tables[0]}. Nothing was "
                        "changed.",
                        "ledger_url",
                    )
                return None
            return version_of(connection)

    def _make_private(self, path: Path) -> None:
        """A file that only its owner may read, before SQLite makes it; the ones beside it get its rights."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"the ledger at {self.shown_url} cannot be opened: {path.parent}: {error.strerror}"
            ) from None
        make_private_file(path, SQLITE_BEGINNING)
        for suffix in _BESIDE:
            close_to_others(path.with_name(path.name + suffix))

    def _upgrade(self) -> None:
        # Imported here: needed once in a ledger's life, and every run worker would pay for it.
        from sora_pipeline.ledger.upgrade import lock_version, upgrade

        with self.write() as connection:
            lock_version(connection)  # before the other lock, as whoever writes does
            self._exclude_others(connection)
            upgrade(connection, self.shown_url, SCHEMA_VERSION)


def version_of(connection: Connection) -> str | None:
    """The version of the schema, where it has one."""
    version: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))  # noqa: S608
    return version


_decoder = json.JSONDecoder()


def _read_json(text: str) -> Any:
    """What SQLAlchemy has written as JSON, with no white space around it: there is one for each clip."""
    return _decoder.raw_decode(text)[0]


def chunks(items: list[Item]) -> Iterator[list[Item]]:
    """Slices short enough for one IN list."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def _away(error: DBAPIError) -> bool:
    """Whether the database may answer when it is asked again: it restarts, is locked, or its disk is full."""
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is no number
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise LedgerError(
            "the ledger's URL is not that of a database we know: SQLite or PostgreSQL", "ledger_url"
        )
    if "@" in (parsed.host or ""):
        raise LedgerError("the ledger's URL has more than one @ before the host", "ledger_url")
    return parsed


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # SQLAlchemy starts the transactions (see _begin_sqlite), not the driver.
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    # FULL: an intent that was committed before a paid request must survive a power cut.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Switch a fresh file to WAL; where several open it at once, SQLite fails instead of waiting its turn."""
    give_up = time.monotonic() + BUSY_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads and then writes must not fail half way for the lock.
    write = connection.get_execution_options().get("sora_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
