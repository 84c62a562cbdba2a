"""What the last look at each published production found, so that a check can tell of all of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import productions, verdicts


@dataclass(frozen=True, slots=True)
class KnownVerdict:
    """What one look at a production found.

    Attributes:
        production_id: The production.
        name: Which look it was.
        healthy: Whether all was well.
        serious: Whether somebody has to do something.
        sentence: What was found, for people.
        looked_at: When.
    """

    production_id: str
    name: str
    healthy: bool
    serious: bool
    sentence: str
    looked_at: datetime


class Verdicts:
    """Keeps the newest verdict of each look at each production."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def record(self, production_id: str, found: Iterable[tuple[str, bool, bool, str]]) -> None:
        """Note what a look found, in the place of what the last one did.

        Args:
            production_id: The production.
            found: Which look it was, whether all was well, whether somebody has to do something, and the sentence.
        """
        now = self._now()
        rows = [
            {
                "production_id": production_id,
                "name": name,
                "healthy": healthy,
                "serious": serious,
                "sentence": sentence,
                "looked_at": now,
            }
            for name, healthy, serious, sentence in found
        ]
        with self._database.exclusive() as connection:
            names = [row["name"] for row in rows]
            of_production = verdicts.c.production_id == production_id
            connection.execute(delete(verdicts).where(of_production, verdicts.c.name.in_(names)))
            if rows:
                connection.execute(verdicts.insert(), rows)

    @patient
    def counts(self, pipeline: str) -> dict[str, int]:
        """How many of a pipeline's productions were looked at, by the name of the look."""
        query = (
            select(verdicts.c.name, func.count().label("productions"))
            .join(productions, productions.c.production_id == verdicts.c.production_id)
            .where(productions.c.pipeline == pipeline)
            .group_by(verdicts.c.name)
        )
        with self._database.read() as connection:
            return {row.name: int(row.productions) for row in connection.execute(query)}

    @patient
    def not_well(self, pipeline: str) -> list[KnownVerdict]:
        """What is not well with a pipeline's productions, what somebody has to do something about first, the newest first."""
        query = (
            select(verdicts)
            .join(productions, productions.c.production_id == verdicts.c.production_id)
            .where(productions.c.pipeline == pipeline, ~verdicts.c.healthy)
            .order_by(verdicts.c.serious.desc(), verdicts.c.looked_at.desc(), verdicts.c.production_id)
        )
        with self._database.read() as connection:
            return [
                KnownVerdict(
                    row.production_id, row.name, row.healthy, row.serious, row.sentence, row.looked_at
                )
                for row in connection.execute(query)
            ]
