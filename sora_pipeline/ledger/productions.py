"""Productions: which manifest goes where, what it may cost, and whether its output manifest is up to date."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, or_, select, update

from sora_pipeline.clip import Clip
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger.amendments import Amendment, amend, amendments_of, standing_amendments
from sora_pipeline.ledger.clocks import over
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.database import Database, LedgerError, patient
from sora_pipeline.ledger.made_elsewhere import require_not_made_elsewhere
from sora_pipeline.ledger.rows import production_of
from sora_pipeline.ledger.schema import clip_counts, productions
from sora_pipeline.ledger.types import MICROS, Account, Production
from sora_pipeline.ledger.wanting import register, stop_others
from sora_pipeline.status import ClipStatus

_MOMENT = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a production is to be, as whoever asks for it or reads its manifest wants it.

    Attributes:
        production_id: Its name.
        pipeline: The pipeline that serves it.
        manifest_uri: The campaign's manifest.
        output_uri: Where its videos and tables go.
        account: Who submits its pending clips from now on.
        budget_usd: What it may cost, where that is said; None: as it was.
        budget_given: Whether a person said so for this production, and not the settings for all.
        named: Whether whoever asks for it gives it that name; else the manifest's file does, and means no other manifest's production.
    """

    production_id: str
    pipeline: str
    manifest_uri: str
    output_uri: str
    account: Account
    budget_usd: Decimal | None = None
    budget_given: bool = False
    named: bool = True


@dataclass(frozen=True, slots=True)
class Reading:
    """A manifest that was read.

    Attributes:
        snapshot_path: Its canonical form, relative to the output.
        manifest_sha256: Hash of the file.
        snapshot_sha256: Hash of what it asks for.
        wanted: Its clips, in its order; gone through more than once, some thousand at a time.
        invalid: Rows that ask for what cannot be made and were amended, or all of them: the id they are reported under, and a hash
            of the row.
        began_at: When reading began: what was asked for later is still to be read.
        invalid_numbers: Where those rows are in the file.
    """

    snapshot_path: str
    manifest_sha256: str
    snapshot_sha256: str
    wanted: Sequence[Clip]
    invalid: Mapping[str, str]
    began_at: datetime
    invalid_numbers: Mapping[str, int] = field(default_factory=dict)


class OvertakenError(SoraPipelineError):
    """Raised where a manifest was read and a later reading stands already, or was asked for: what was read then counts no more."""


def mark_changed(connection: Connection, production: str, now: datetime) -> None:
    """Note, within the caller's transaction, that the output manifest is out of date."""
    connection.execute(
        update(productions)
        .where(productions.c.production_id == production)
        .values(change_seq=productions.c.change_seq + 1, changed_at=now)
    )


def mark_if_waiting(connection: Connection, production: str, now: datetime) -> None:
    """The same, where why clips wait has changed: of a production that has come to its end nothing has."""
    waiting = select(clip_counts.c.clips).where(
        clip_counts.c.production_id == production,
        clip_counts.c.standing == ClipStatus.PENDING,
        clip_counts.c.clips > 0,
    )
    if connection.execute(waiting.limit(1)).first() is not None:
        mark_changed(connection, production, now)


class Productions:
    """Questions and transitions about whole productions."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    # ---- asking and reading

    @patient
    def request(
        self, plan: Plan, manifest_uri: str | None = None, *, wanted: Sequence[Clip] | None = None
    ) -> Production:
        """Ask for a production's manifest to be (re)read and produced; the manifest sensor takes it up.

        Args:
            plan: What it is to be.
            manifest_uri: The file to read, where that is not the campaign's manifest but rows of it that were mended.
            wanted: All that it asks for, where that is known: what it names no longer, or otherwise, is not submitted from
                now on. None: known only once it is read.

        Raises:
            LedgerError: the name is another pipeline's, or another manifest's and not given, or the output another production's.
        """
        now = self._now()
        with self._database.exclusive() as connection:
            known = self._ensure(connection, plan)
            connection.execute(
                update(productions)
                .where(productions.c.production_id == plan.production_id)
                .values(
                    named=plan.named or (known is not None and known.named),
                    requested_at=now,
                    requested_manifest=manifest_uri or plan.manifest_uri,
                    # A reading noted for a time to come, by a clock that ran ahead, would pass for one of this request.
                    read_at=case((productions.c.read_at >= now, now - _MOMENT), else_=productions.c.read_at),
                    error=None,
                )
            )
            if wanted is not None:
                stop_others(connection, plan.production_id, wanted)
        return self.get(plan.production_id)

    @patient
    def record_snapshot(self, plan: Plan, reading: Reading) -> Production:
        """Note that the manifest was read, what its canonical snapshot is, and which clips it wants.

        All in one transaction: clips must not be wanted before their budget holds, nor a manifest count as read before
        its clips are wanted. Amended rows stand until their own row in the manifest changes.

        Raises:
            OvertakenError: one that began later stands already, or was asked for since.
            LedgerError: the name is another pipeline's, or another manifest's; or nobody gave it, and another production has paid
                for its clips, or is about to.
        """
        identity = plan.production_id
        with self._database.exclusive() as connection:
            known = self._ensure(connection, plan)
            if known is not None:
                self._require_newest(known, plan.manifest_uri, reading.began_at, known.snapshot_began_at)
            _require_paid_once(connection, plan, known, reading.wanted)
            self._note_read(connection, identity, reading.began_at)
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity)
                .values(
                    account=plan.account.name,
                    simulated=plan.account.simulated,
                    snapshot_path=reading.snapshot_path,
                    snapshot_began_at=reading.began_at,
                    manifest_sha256=reading.manifest_sha256,
                    snapshot_sha256=reading.snapshot_sha256,
                )
            )
            register(
                connection,
                identity,
                standing_amendments(
                    connection,
                    identity,
                    reading.wanted,
                    reading.invalid,
                    reading.invalid_numbers,
                    simulated=plan.account.simulated,
                ),
            )
            mark_changed(connection, identity, self._now())
        return self.get(identity)

    @patient
    def record_amendments(
        self,
        plan: Plan,
        manifest_uri: str,
        mended: Sequence[Clip],
        *,
        invalid: Mapping[str, str],
        began_at: datetime,
    ) -> Production:
        """Let mended rows take the place of the campaign's, and nothing else change.

        Args:
            plan: What the production is to be.
            manifest_uri: The file in which they were mended.
            mended: The clips that they ask for.
            invalid: The campaign's rows that could not be used, as of its newest reading: id and hash of the row.
            began_at: When reading began.

        Raises:
            OvertakenError: what began later was read already, or asked for since.
            LedgerError: the name is another pipeline's, or the production has become another manifest's.
        """
        identity = plan.production_id
        with self._database.exclusive() as connection:
            known = self._ensure(connection, plan)
            if known is not None:
                self._require_newest(known, manifest_uri, began_at, known.read_at)
            self._note_read(connection, identity, began_at)
            amend(connection, identity, manifest_uri, mended, invalid, self._now())
            count_production(connection, identity)
            mark_changed(connection, identity, self._now())
        return self.get(identity)

    @patient
    def record_problem(self, identity: str, error: str) -> None:
        """Note why a production's manifest could not be read, for whoever asked for it; nothing where there is none."""
        with self._database.exclusive() as connection:
            self._note_read(connection, identity, self._now())
            connection.execute(
                update(productions).where(productions.c.production_id == identity).values(error=error)
            )

    @patient
    def require_paid_once(self, plan: Plan, wanted: Sequence[Clip]) -> None:
        """Refuse a production that nobody named and that is new, where another one has its very clips.

        Raises:
            LedgerError: one has.
        """
        with self._database.read() as connection:
            known = _find(connection, plan.production_id)
            if not plan.named:
                _require_paid_once(connection, plan, known, wanted)

    def _require_newest(
        self, known: Any, manifest_uri: str, began_at: datetime, read_last: datetime | None
    ) -> None:
        """Refuse what was read before something newer: its rows may have been mended since."""
        asked = known.requested_at if known.requested_manifest == manifest_uri else None
        now = self._now()  # what is noted for a time to come, by a clock that ran ahead, is no newer
        if any(moment is not None and began_at < moment <= now for moment in (read_last, asked)):
            raise OvertakenError(
                f"{manifest_uri} was read, or asked for, once more while it was being read for {known.production_id}"
            )

    def _ensure(self, connection: Connection, plan: Plan) -> Any:
        """The production as planned; a spending limit that a person gave holds until a person gives another. How it was, if it was."""
        known = _find(connection, plan.production_id)
        if known is not None and known.pipeline != plan.pipeline:
            raise LedgerError(
                f"the production {plan.production_id} belongs to {_shown(known.pipeline)} in this ledger, not to "
                f"{_shown(plan.pipeline)}; give this one another name"
            )
        if known is not None and known.manifest_uri != plan.manifest_uri and not plan.named:
            raise LedgerError(
                f"the production {plan.production_id} is made from {known.manifest_uri} since a moment ago, and this is {plan.manifest_uri}",
                "manifest_moved",
                production=plan.production_id,
            )
        if known is None or known.output_uri != plan.output_uri:
            self._require_free(connection, plan)
        if known is None:
            connection.execute(
                productions.insert().values(
                    production_id=plan.production_id,
                    pipeline=plan.pipeline,
                    named=plan.named,
                    manifest_uri=plan.manifest_uri,
                    output_uri=plan.output_uri,
                    simulated=plan.account.simulated,
                    budget_micros=_micros(plan.budget_usd),
                    budget_given=plan.budget_given,
                )
            )
            return None
        values: dict[str, Any] = {"manifest_uri": plan.manifest_uri, "output_uri": plan.output_uri}
        if plan.budget_usd is not None and (plan.budget_given or not known.budget_given):
            values |= {"budget_micros": _micros(plan.budget_usd), "budget_given": plan.budget_given}
        this_production = productions.c.production_id == plan.production_id
        connection.execute(update(productions).where(this_production).values(**values))
        return known

    def _require_free(self, connection: Connection, plan: Plan) -> None:
        """Refuse an output that another production of this ledger was given, perhaps a moment ago in another terminal."""
        query = select(productions.c.production_id).where(
            productions.c.output_uri == plan.output_uri, productions.c.production_id != plan.production_id
        )
        other = connection.scalar(query.limit(1))
        if other is not None:
            raise LedgerError(
                f"{plan.output_uri} is the output of the production {other}, and {plan.production_id} would replace its manifest",
                "output_taken",
                owner=other,
            )

    def _note_read(self, connection: Connection, identity: str, read_at: datetime) -> None:
        now = self._now()
        connection.execute(
            update(productions)
            .where(productions.c.production_id == identity)
            .values(
                # Mended rows may have been read since this reading of their campaign began.
                read_at=case(
                    (
                        and_(productions.c.read_at > read_at, productions.c.read_at <= now),
                        productions.c.read_at,
                    ),
                    else_=read_at,
                ),
                requested_at=_not_to_come(now, read_at),
                error=None,
            )
        )

    @patient
    def set_budget(self, identity: str, budget_usd: Decimal | None) -> None:
        """Let a production cost this from now on, as a person asks for it; None: no limit."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity)
                .values(budget_micros=_micros(budget_usd), budget_given=True)
            )
            mark_if_waiting(connection, identity, self._now())

    @patient
    def amendments(self, identity: str) -> dict[str, Amendment]:
        """Rows that were mended apart from the production's manifest, by clip id."""
        with self._database.read() as connection:
            return amendments_of(connection, identity)

    # ---- finding

    @patient
    def get(self, identity: str) -> Production:
        """One production.

        Raises:
            KeyError: there is none with this name.
        """
        production = self.find(identity)
        if production is None:
            raise KeyError(identity)
        return production

    @patient
    def find(self, identity: str) -> Production | None:
        """The production of this name, if there is one."""
        with self._database.read() as connection:
            query = select(productions).where(productions.c.production_id == identity)
            row = connection.execute(query).mappings().first()
        return None if row is None else production_of(row)

    def all(self, pipeline: str | None = None) -> list[Production]:
        """Every production, or every one that a pipeline serves; the one read last first."""
        conditions = [] if pipeline is None else [productions.c.pipeline == pipeline]
        return sorted(self._where(*conditions), key=_last_touched, reverse=True)

    def of_manifest(self, manifest_uri: str, pipeline: str) -> list[Production]:
        """A pipeline's productions that this file is the manifest of."""
        return self._where(productions.c.manifest_uri == manifest_uri, productions.c.pipeline == pipeline)

    def of_output(self, output_uri: str) -> list[Production]:
        """Productions that go into this output."""
        return self._where(productions.c.output_uri == output_uri)

    def requested(self, pipeline: str) -> list[Production]:
        """A pipeline's productions that somebody asked for and whose manifest was not read since."""
        stale = productions.c.read_at.is_(None) | (productions.c.read_at < productions.c.requested_at)
        return self._where(productions.c.requested_at.is_not(None), stale, productions.c.pipeline == pipeline)

    def unpublished(self, pipeline: str) -> list[Production]:
        """A pipeline's productions whose output manifest is out of date."""
        return self._where(
            productions.c.pipeline == pipeline,
            productions.c.snapshot_path.is_not(None),
            productions.c.change_seq > productions.c.published_seq,
        )

    @patient
    def _where(self, *conditions: ColumnElement[bool]) -> list[Production]:
        query = select(productions).where(*conditions).order_by(productions.c.production_id)
        with self._database.read() as connection:
            return [production_of(row) for row in connection.execute(query).mappings()]

    # ---- publishing

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
    def release_publish(self, identity: str, owner: str) -> None:
        """Let others write the output manifest, where that was this owner's so far."""
        with self._database.write() as connection:
            connection.execute(
                update(productions)
                .where(productions.c.production_id == identity, productions.c.publisher == owner)
                .values(publisher=None, publisher_until=None)
            )

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


def _find(connection: Connection, identity: str) -> Any:
    return connection.execute(select(productions).where(productions.c.production_id == identity)).first()


def _require_paid_once(connection: Connection, plan: Plan, known: Any, wanted: Sequence[Clip]) -> None:
    # Whoever reads what a command has asked for is told a name in any case: whether a person gave it, the ledger knows.
    named = plan.named if known is None else known.named
    if not named and (known is None or known.snapshot_path is None):
        require_not_made_elsewhere(connection, plan.production_id, plan.pipeline, plan.manifest_uri, wanted)


def _shown(pipeline: str) -> str:
    return f"the pipeline {pipeline}" if pipeline else "the built-in pipeline"


def _not_to_come(now: datetime, read_at: datetime) -> ColumnElement[datetime | None]:
    """When it was asked for; a request noted for a time to come, by a clock that ran ahead, is met by this reading."""
    return case((productions.c.requested_at > now, read_at), else_=productions.c.requested_at)


def _micros(usd: Decimal | None) -> int | None:
    return None if usd is None else int(usd * MICROS)


def _last_touched(production: Production) -> datetime:
    touched = [moment for moment in (production.read_at, production.requested_at) if moment]
    return max(touched, default=datetime.min.replace(tzinfo=UTC))
