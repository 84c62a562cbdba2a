"""Productions: which manifest goes where, what it may cost, and whether its output manifest is up to date."""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import ColumnElement, Connection, case, or_, select, update

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.clips import register
from sora_pipeline.ledger.clocks import over
from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.rows import production_of
from sora_pipeline.ledger.schema import productions
from sora_pipeline.ledger.types import MICROS, Production

_MOMENT = timedelta(milliseconds=1)


def production_id(manifest_uri: str, output_uri: str) -> str:
    """The same manifest into the same output is the same production, whoever asks for it."""
    return hashlib.sha256(f"{manifest_uri}\n{output_uri}".encode()).hexdigest()[:16]


def mark_changed(connection: Connection, production: str, now: datetime) -> None:
    """Note, within the caller's transaction, that the output manifest is out of date."""
    connection.execute(
        update(productions)
        .where(productions.c.production_id == production)
        .values(change_seq=productions.c.change_seq + 1, changed_at=now)
    )


class Productions:
    """Questions and transitions about whole productions."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def request(self, manifest_uri: str, output_uri: str, budget_usd: Decimal | None) -> Production:
        """Ask for a manifest to be (re)read and produced; the manifest sensor takes it up."""
        identity = production_id(manifest_uri, output_uri)
        now = self._now()
        with self._database.exclusive() as connection:
            self._ensure(connection, identity, manifest_uri, output_uri)
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity)
                .values(
                    requested_at=now,
                    # A reading noted for a time to come, by a clock that ran ahead, would pass for one of this request.
                    read_at=case((productions.c.read_at >= now, now - _MOMENT), else_=productions.c.read_at),
                    budget_micros=_micros(budget_usd),
                    error=None,
                )
            )
        return self.get(identity)

    def _ensure(self, connection: Connection, identity: str, manifest_uri: str, output_uri: str) -> None:
        known = connection.execute(
            select(productions.c.production_id).where(productions.c.production_id == identity)
        ).first()
        if known is None:
            connection.execute(
                productions.insert().values(
                    production_id=identity, manifest_uri=manifest_uri, output_uri=output_uri
                )
            )

    @patient
    def record_snapshot(
        self,
        manifest_uri: str,
        output_uri: str,
        *,
        snapshot_path: str,
        manifest_sha256: str,
        snapshot_sha256: str,
        budget_usd: Decimal | None,
        wanted: Sequence[Clip] = (),
        began_at: datetime | None = None,
    ) -> Production:
        """Note that the manifest was read, what its canonical snapshot is, and which clips it wants.

        All in one transaction: clips must not be wanted before their budget holds, nor a manifest count as read before
        its clips are wanted. ``began_at`` is when reading began: what was asked for later is still to be read.
        """
        identity = production_id(manifest_uri, output_uri)
        now = self._now()
        read_at = began_at or now
        with self._database.exclusive() as connection:
            self._ensure(connection, identity, manifest_uri, output_uri)
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity)
                .values(
                    read_at=read_at,
                    requested_at=_not_to_come(now, read_at),
                    snapshot_path=snapshot_path,
                    manifest_sha256=manifest_sha256,
                    snapshot_sha256=snapshot_sha256,
                    budget_micros=_micros(budget_usd),
                    sequence=productions.c.sequence + 1,
                    error=None,
                )
            )
            register(connection, identity, wanted)
            mark_changed(connection, identity, self._now())
        return self.get(identity)

    @patient
    def record_problem(self, manifest_uri: str, output_uri: str, error: str) -> None:
        """Note why the manifest as a whole could not be read, for whoever asked for it."""
        identity = production_id(manifest_uri, output_uri)
        now = self._now()
        with self._database.exclusive() as connection:
            self._ensure(connection, identity, manifest_uri, output_uri)
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity)
                .values(error=error, read_at=now, requested_at=_not_to_come(now, now))
            )

    @patient
    def get(self, identity: str) -> Production:
        """One production.

        Raises:
            KeyError: there is none with this id.
        """
        with self._database.read() as connection:
            row = (
                connection.execute(select(productions).where(productions.c.production_id == identity))
                .mappings()
                .first()
            )
        if row is None:
            raise KeyError(identity)
        return production_of(row)

    def find(self, manifest_uri: str, output_uri: str) -> Production | None:
        """The production of this manifest into this output, if there ever was one."""
        try:
            return self.get(production_id(manifest_uri, output_uri))
        except KeyError:
            return None

    @patient
    def all(self) -> list[Production]:
        """Every production, the one read last first."""
        with self._database.read() as connection:
            rows = connection.execute(select(productions)).mappings().all()
        found = [production_of(row) for row in rows]
        return sorted(found, key=_last_touched, reverse=True)

    @patient
    def requested(self) -> list[Production]:
        """Productions that somebody asked for and whose manifest was not read since."""
        stale = productions.c.read_at.is_(None) | (productions.c.read_at < productions.c.requested_at)
        with self._database.read() as connection:
            rows = (
                connection.execute(select(productions).where(productions.c.requested_at.is_not(None), stale))
                .mappings()
                .all()
            )
        return [production_of(row) for row in rows]

    @patient
    def unpublished(self) -> list[Production]:
        """Productions whose output manifest is out of date."""
        with self._database.read() as connection:
            rows = (
                connection.execute(
                    select(productions).where(
                        productions.c.snapshot_path.is_not(None),
                        productions.c.change_seq > productions.c.published_seq,
                    )
                )
                .mappings()
                .all()
            )
        return [production_of(row) for row in rows]

    @patient
    def claim_publish(self, identity: str, owner: str, lease_s: float) -> bool:
        """Become the only one who writes the output manifest; False while somebody else does."""
        now = self._now()
        free = or_(
            productions.c.publisher.is_(None),
            productions.c.publisher == owner,
            over(productions.c.publisher_until, now),
        )
        with self._database.write() as connection:
            claimed = connection.execute(
                update(productions)
                .where(productions.c.production_id == identity, free)
                .values(publisher=owner, publisher_until=now + timedelta(seconds=lease_s))
            )
        return claimed.rowcount == 1

    @patient
    def record_published(self, identity: str, change_seq: int, owner: str) -> bool:
        """Note that a state of the production was published; False where a newer one already was."""
        with self._database.write() as connection:
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity, productions.c.publisher == owner)
                .values(publisher=None, publisher_until=None)
            )
            done = connection.execute(
                update(productions)
                .where(productions.c.production_id == identity, productions.c.published_seq < change_seq)
                .values(published_seq=change_seq, published_at=self._now())
            )
        return done.rowcount == 1


def _not_to_come(now: datetime, read_at: datetime) -> ColumnElement[datetime | None]:
    """When it was asked for; a request noted for a time to come, by a clock that ran ahead, is met by this reading."""
    return case((productions.c.requested_at > now, read_at), else_=productions.c.requested_at)


def _micros(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd * MICROS)


def _last_touched(production: Production) -> datetime:
    touched = [moment for moment in (production.read_at, production.requested_at) if moment]
    return max(touched, default=datetime.min.replace(tzinfo=UTC))
