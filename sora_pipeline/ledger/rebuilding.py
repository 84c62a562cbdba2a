"""Filling an empty ledger with what was found of a lost one: all of it in one transaction, or nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Table, select, true

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.clips import note_outcomes
from sora_pipeline.ledger.database import Database, LedgerProblem
from sora_pipeline.ledger.rows import spec_of
from sora_pipeline.ledger.schema import attempts, clips, productions
from sora_pipeline.ledger.types import Attempt, Production

_ROWS = 500  # of one statement


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A clip that a manifest asks for, or once did.

    Attributes:
        clip: What is asked for.
        production_id: The production that wants it, or wanted it last.
        active: Whether the manifest still names it.
        position: Where in the manifest.
        round: Its round; attempts of earlier rounds are history.
        fingerprint: Of the clip; given, since not everything that decides it may have been found.
    """

    clip: Clip
    production_id: str
    active: bool
    position: int
    round: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found of a lost ledger. The ids of its attempts count for nothing: they get new ones, in this order."""

    productions: Sequence[Production]
    clips: Sequence[FoundClip]
    attempts: Sequence[Attempt]


class Rebuilding:
    """Puts found things in, where nothing is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def require_empty(self) -> None:
        """Refuse where there is something that could be lost.

        Raises:
            LedgerProblem: the ledger has productions or attempts.
        """
        with self._database.read() as connection:
            self._require_empty(connection)

    def insert(self, found: Found) -> None:
        """Insert everything, in one transaction.

        Raises:
            LedgerProblem: the ledger has productions or attempts.
        """
        with self._database.exclusive() as connection:
            self._require_empty(connection)
            _insert(connection, productions, [asdict(each) for each in found.productions])
            _insert(connection, clips, [_clip_row(each) for each in found.clips])
            _insert(connection, attempts, [_attempt_row(each) for each in found.attempts])
            note_outcomes(connection, true())

    def _require_empty(self, connection: Connection) -> None:
        for table, what in ((productions, "productions"), (attempts, "attempts")):
            if connection.execute(select(1).select_from(table).limit(1)).first() is not None:
                raise LedgerProblem(
                    f"the ledger at {self._database.shown_url} is not lost: it has {what}, and nothing was changed. "
                    "To have it rebuilt all the same, move that file or database away first"
                )


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), _ROWS):
        connection.execute(table.insert(), rows[start : start + _ROWS])


def _clip_row(found: FoundClip) -> dict[str, Any]:
    return {
        "clip_id": found.clip.clip_id,
        "production_id": found.production_id,
        "active": found.active,
        "position": found.position,
        "round": found.round,
        "fingerprint": found.fingerprint,
        "spec": spec_of(found.clip),
    }


def _attempt_row(attempt: Attempt) -> dict[str, Any]:
    row = asdict(attempt)
    del row["attempt_id"]
    return row
