"""A copy of a ledger in SQLite while it is at work; in the copy every production is paused, for it will be old when it is used."""

import contextlib
import sqlite3
from datetime import datetime
from pathlib import Path

from sqlalchemy import URL, create_engine, update
from sqlalchemy.exc import DBAPIError

from sora_pipeline.ledger.database import Database, LedgerError
from sora_pipeline.ledger.schema import productions
from sora_pipeline.private_files import SQLITE_BEGINNING, make_private_file


def back_up(database: Database, file: Path, now: datetime) -> None:
    """Copy a ledger into a new file that only its owner may read.

    Raises:
        LedgerError: it is not in SQLite, the file is there already, or it cannot be written.
    """
    if not database.is_sqlite:
        raise LedgerError(
            f"the ledger at {database.shown_url} is backed up with PostgreSQL's own tools", "backup_server"
        )
    if file.exists():
        raise LedgerError(f"{file} is there already, and nothing is written over; name another file")
    if not (folder := file.absolute().parent).is_dir():
        raise LedgerError(
            f"{file} cannot be written: there is no folder {folder}. Name a file in one that is there"
        )
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        _copy(database, unfinished)
        _pause_all(unfinished, now)
        unfinished.rename(file)
    except (OSError, sqlite3.Error, DBAPIError) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise LedgerError(f"{file} cannot be written: {error}") from None


def _copy(database: Database, file: Path) -> None:
    make_private_file(file, SQLITE_BEGINNING)
    source = database.engine.raw_connection()
    try:
        with contextlib.closing(sqlite3.connect(file)) as copy:
            driver: sqlite3.Connection = source.driver_connection  # type: ignore[assignment]  # SQLAlchemy knows any driver
            driver.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, with nothing beside it
    finally:
        source.close()


def _pause_all(file: Path, now: datetime) -> None:
    engine = create_engine(URL.create("sqlite", database=str(file)))
    with engine.begin() as connection:
        connection.execute(update(productions).where(productions.c.paused_at.is_(None)).values(paused_at=now))
    engine.dispose()
