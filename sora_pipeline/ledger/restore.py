"""Filling a ledger with what was found of a lost one, or of another: all of it in one transaction, or nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Table, select

from sora_pipeline.clip import Clip, clip_key
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.database import Database, LedgerError
from sora_pipeline.ledger.rows import row_of, spec_of
from sora_pipeline.ledger.schema import attempts, clips, productions
from sora_pipeline.ledger.types import Attempt, Production

_ROWS = 500  # of one statement
LOST_KIND = "history_lost"
LOST_END = "the ledger that knew how it ended was lost, and another attempt followed"


@dataclass(frozen=True, slots=True)
class RestoredClip:
    """A clip that a manifest asks for, or once did.

    Attributes:
        clip: What is asked for.
        production_id: The production that wants it, or wanted it last.
        active: Whether the manifest still names it.
        position: Where in the manifest.
        round: Its round; attempts of earlier rounds are history.
        fingerprint: Of the clip, where not everything that decides it was found; None: its own.
    """

    clip: Clip
    production_id: str
    active: bool
    position: int
    round: int
    fingerprint: str | None
    cancelled: bool = False

    @property
    def key(self) -> str:
        """Its key in the ledger."""
        return clip_key(self.production_id, self.clip.clip_id)


@dataclass(frozen=True, slots=True)
class LedgerContents:
    """What was found of a lost ledger. The ids of its attempts count for nothing: they get new ones, in this order."""

    productions: Sequence[Production]
    clips: Sequence[RestoredClip]
    attempts: Sequence[Attempt]


class Restore:
    """Puts in what was found, where it cannot contradict anything."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def require_empty(self) -> None:
        """Refuse where there is something that could be lost.

        Raises:
            LedgerError: the ledger has productions or attempts.
        """
        with self._database.read() as connection:
            for table, what in ((productions, "productions"), (attempts, "attempts")):
                if connection.execute(select(1).select_from(table).limit(1)).first() is not None:
                    raise LedgerError(
                        f"the ledger at {self._database.shown_url} is not lost: it has {what}, and nothing was changed. "
                        "To have it rebuilt all the same, move that file or database away first"
                    )

    def insert(self, contents: LedgerContents) -> None:
        """Insert everything, in one transaction.

        Raises:
            LedgerError: the ledger has one of these productions already.
        """
        with self._database.exclusive() as connection:
            known = set(connection.scalars(select(productions.c.production_id)))
            for production in contents.productions:
                if production.production_id in known:
                    raise LedgerError(
                        f"the ledger at {self._database.shown_url} has a production {production.production_id} already, and "
                        "nothing was changed"
                    )
            insert_contents(connection, contents)
            for production in contents.productions:
                count_production(connection, production.production_id)


def insert_contents(connection: Connection, contents: LedgerContents) -> None:
    """Insert what the ledger has nothing of, within the caller's transaction; the caller counts the productions."""
    _insert(connection, productions, [asdict(production) for production in contents.productions])
    _insert(connection, clips, [_clip_row(clip) for clip in contents.clips])
    _insert(connection, attempts, [row_of(attempt) for attempt in contents.attempts])


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _ROWS):
        connection.execute(table.insert(), rows[start : start + _ROWS])


def _clip_row(restored: RestoredClip) -> dict[str, Any]:
    return {
        "clip_key": restored.key,
        "production_id": restored.production_id,
        "clip_id": restored.clip.clip_id,
        "active": restored.active,
        "position": restored.position,
        "round": restored.round,
        "fingerprint": restored.clip.fingerprint if restored.fingerprint is None else restored.fingerprint,
        "spec": spec_of(restored.clip),
        "cancelled_round": restored.round if restored.cancelled else None,
    }
