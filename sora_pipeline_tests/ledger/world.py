"""A clock that tests turn, and productions in a ledger, with the steps that most tests begin with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sora_pipeline.clip import Clip, Size, clip_key
from sora_pipeline.ledger import Account, Attempt, ClipStanding, Ledger, Limits, Plan, Production, Reading
from sora_pipeline.ledger.attempts import Reservation
from sora_pipeline.ledger.types import MICROS, ClipCounts
from sora_pipeline.video import StoredVideo, VideoFacts

LEASE_S = 60.0
DEADLINE_S = 3600.0
POLL_S = 10.0
DOLLAR = MICROS
SANDBOX = Account("sandbox", "sandbox", simulated=True)
REAL = Account("gptproto", "gptproto", simulated=False)
SECOND = Account("second", "openai-videos", simulated=False)
VIDEO = StoredVideo(
    output_uri="/out",
    file_name="videos/a/1.mp4",
    poster_path=None,
    facts=VideoFacts(
        bytes=1234,
        sha256="ab" * 32,
        width=720,
        height=1280,
        fps=30.0,
        frames=120,
        duration_s=4.0,
        video_codec="h264",
        has_audio=True,
        c2pa=False,
    ),
)


class Clock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.moment = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def turn(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def clip(clip_id: str, prompt: str = "a cat", *, simulated: bool = True) -> Clip:
    return Clip(clip_id, 1, prompt, None, None, "sora-2", simulated, 4, Size(720, 1280))


def reading(wanted: Sequence[Clip], now: datetime, invalid: Mapping[str, str] | None = None) -> Reading:
    return Reading(
        snapshot_path=".snapshots/1.parquet",
        manifest_sha256="0" * 64,
        snapshot_sha256="1" * 64,
        wanted=wanted,
        invalid=invalid or {},
        began_at=now,
    )


class World:
    """One production and the way of an attempt through its states; each step asserts that it happened.

    Speaks of bare clip ids; several worlds may share a ledger.

    Args:
        ledger: Where.
        clock: The ledger's.
        name: The production.
        pipeline: Who serves it.
        account: Who submits for it.
        budget: What it may cost.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        name: str = "campaign",
        pipeline: str = "",
        account: Account = SANDBOX,
        budget: Decimal | None = None,
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self.attempts = ledger.attempts
        self.limits = Limits(max_in_flight=100, max_attempts=3)
        self.production_id = name
        self.pipeline = pipeline
        self.account = account
        self.budget = budget
        self.output_uri = f"/out/{name}"
        self.read([])

    @classmethod
    def known(cls, ledger: Ledger, clock: Clock, production: Production, account: Account) -> "World":
        """The world of a production that is there already, and is not read anew."""
        world = cls.__new__(cls)
        world.ledger, world.clock, world.attempts = ledger, clock, ledger.attempts
        world.limits = Limits(max_in_flight=100, max_attempts=3)
        world.production_id, world.pipeline = production.production_id, production.pipeline
        world.account, world.budget, world.output_uri = account, None, production.output_uri
        return world

    @property
    def plan(self) -> Plan:
        return Plan(
            production_id=self.production_id,
            pipeline=self.pipeline,
            manifest_uri=f"/in/{self.production_id}.csv",
            output_uri=self.output_uri,
            account=self.account,
            budget_usd=self.budget,
        )

    @property
    def production(self) -> Production:
        return self.ledger.productions.get(self.production_id)

    def key(self, clip_id: str) -> str:
        return clip_key(self.production_id, clip_id)

    def keys(self, *clip_ids: str) -> list[str]:
        return [self.key(each) for each in clip_ids]

    def made_here(self, wanted: Clip) -> Clip:
        """The clip as it is read for this world's account."""
        return replace(wanted, simulated=self.account.simulated)

    def read(self, wanted: Sequence[Clip], invalid: Mapping[str, str] | None = None) -> Production:
        mine = [self.made_here(each) for each in wanted]
        return self.ledger.productions.record_snapshot(self.plan, reading(mine, self.clock(), invalid))

    def register(self, *clips: Clip | str) -> None:
        wanted = [each if isinstance(each, Clip) else clip(each) for each in clips]
        wanted = [replace(each, row_number=number) for number, each in enumerate(wanted, 1)]
        self.read(wanted)

    def mend(
        self, *mended: Clip, invalid: Mapping[str, str] | None = None, file: str = "/out/failed.csv"
    ) -> None:
        """Hand in rows that were mended apart."""
        clips = [self.made_here(each) for each in mended]
        self.ledger.productions.record_amendments(
            self.plan, file, clips, invalid=invalid or {}, began_at=self.clock()
        )

    def pending(self) -> list[str]:
        keys = self.ledger.clips.pending(self.limits.max_attempts, self.production_id)
        return [key.removeprefix(self.key("")) for key in keys]

    def standings(self, *clip_ids: str) -> dict[str, ClipStanding]:
        found = self.ledger.clips.standings(self.keys(*clip_ids))
        return {key.removeprefix(self.key("")): each for key, each in found.items()}

    def standing(self, clip_id: str = "a") -> ClipStanding:
        return self.standings(clip_id)[clip_id]

    def of_clips(self, *clip_ids: str) -> list[Attempt]:
        return self.attempts.of_clips(self.keys(*clip_ids))

    def all_attempts(self) -> list[Attempt]:
        return self.attempts.of_production(self.production_id)

    def counts(self) -> ClipCounts:
        return self.ledger.clips.counts(self.production_id, self.limits.max_attempts)

    def due(self, limit: int = 10) -> list[int]:
        found = self.attempts.due(limit, account=self.account.name, pipeline=self.pipeline)
        return [each.attempt_id for each in found]

    def unreported(self) -> list[int]:
        return [each.attempt_id for each in self.attempts.unreported(self.pipeline)]

    def slots_taken(self) -> int:
        return self.attempts.slots_taken(self.account.name)

    def reserve(
        self,
        costs: Mapping[str, int],
        *,
        account: Account | None = None,
        owner: str | None = None,
        force: bool = False,
        batch: str = "batch",
    ) -> Reservation:
        return self.attempts.reserve(
            {self.key(clip_id): cost for clip_id, cost in costs.items()},
            account=account or self.account,
            batch_id=batch,
            limits=self.limits,
            lease_s=LEASE_S,
            owner=owner,
            force=force,
        )

    def try_reserve(
        self, *clip_ids: str, cost: int = DOLLAR, owner: str | None = None, force: bool = False
    ) -> list[Attempt]:
        return self.reserve(dict.fromkeys(clip_ids, cost), owner=owner, force=force).reserved

    def reserved(self, clip_id: str = "a", *, force: bool = False) -> int:
        (attempt,) = self.try_reserve(clip_id, force=force)
        return attempt.attempt_id

    def begin_submit(self, attempt_id: int, owner: str = "run") -> bool:
        return self.attempts.begin_submit(
            attempt_id, owner, lease_s=LEASE_S, request_summary={"model": "sora-2"}
        )

    def submitting(self, clip_id: str = "a", *, owner: str = "run", force: bool = False) -> int:
        attempt_id = self.reserved(clip_id, force=force)
        assert self.begin_submit(attempt_id, owner)
        return attempt_id

    def accept(self, attempt_id: int) -> bool:
        return self.attempts.accept(
            attempt_id,
            prediction_id=f"prediction-{attempt_id}",
            poll_url=None,
            provider_status="queued",
            model_returned=None,
            deadline_s=DEADLINE_S,
            first_poll_s=POLL_S,
        )

    def in_flight(self, clip_id: str = "a", *, force: bool = False) -> int:
        attempt_id = self.submitting(clip_id, force=force)
        assert self.accept(attempt_id)
        return attempt_id

    def succeed(self, attempt_id: int, output_url: str = "https://example.com/1.mp4") -> bool:
        return self.attempts.succeed(
            attempt_id,
            output_url=output_url,
            expires_at=None,
            provider_status="completed",
            model_returned=None,
        )

    def succeeded(self, clip_id: str = "a", *, force: bool = False) -> int:
        attempt_id = self.in_flight(clip_id, force=force)
        assert self.succeed(attempt_id)
        return attempt_id

    def collected(self, clip_id: str = "a", *, force: bool = False) -> int:
        attempt_id = self.succeeded(clip_id, force=force)
        assert self.attempts.collect(attempt_id, VIDEO, run_id="run")
        return attempt_id

    def failed(self, clip_id: str = "a", *, retryable: bool, force: bool = False) -> int:
        attempt_id = self.in_flight(clip_id, force=force)
        assert self.attempts.fail(attempt_id, "oops", "it failed", retryable=retryable, reported=True)
        return attempt_id

    def ambiguous(self, clip_id: str = "a") -> int:
        attempt_id = self.submitting(clip_id)
        assert self.attempts.park_ambiguous(attempt_id, "ambiguous_submit", "the answer was lost")
        return attempt_id

    def timed_out(self, clip_id: str = "a") -> int:
        attempt_id = self.in_flight(clip_id)
        assert self.attempts.time_out(attempt_id, "too late")
        return attempt_id

    def at(self, state: str, clip_id: str = "a") -> int:
        """An attempt in the named state."""
        if state == "failed":
            return self.failed(clip_id, retryable=True)
        make = getattr(self, state)
        attempt_id: int = make(clip_id)
        return attempt_id

    def state(self, attempt_id: int) -> str:
        return self.attempts.get(attempt_id).state

    def committed(self) -> Decimal:
        return self.ledger.money.of_production(self.production_id).committed_usd

    def snapshot(self) -> dict[str, Any]:
        """All that the ledger says of this production and of its account's health, to see whether it stays so."""
        standings = self.ledger.clips.standings_of(self.production_id)
        return {
            "production": asdict(self.production),
            "attempts": [asdict(each) for each in self.all_attempts()],
            "standings": {key: asdict(each) for key, each in standings.items()},
            "pending": self.pending(),
            "counts": self.counts(),
            "money": self.ledger.money.of_production(self.production_id),
            "breaker": self.ledger.breakers.get(self.account.name),
            "pause": self.ledger.pauses.left_s(self.account.name),
        }
