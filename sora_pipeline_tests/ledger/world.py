"""A clock that tests turn, and one production in a ledger, with the steps that most tests begin with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Attempt, Ledger, Limits, StoredVideo
from sora_pipeline.ledger.types import MICROS

LEASE_S = 60.0
DEADLINE_S = 3600.0
POLL_S = 10.0
DOLLAR = MICROS
VIDEO = StoredVideo(
    file_name="videos/a/1.mp4",
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
    poster_path=None,
    output_uri="/out",
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


def clip(clip_id: str, prompt: str = "a cat") -> Clip:
    return Clip(clip_id, 1, prompt, None, None, "sora-2", "sandbox", 4, Size(720, 1280))


class World:
    """One production and the way of an attempt through its states; each step asserts that it happened."""

    def __init__(self, ledger: Ledger, clock: Clock, *, budget: Decimal | None = None) -> None:
        self.ledger = ledger
        self.clock = clock
        self.attempts = ledger.attempts
        self.limits = Limits(max_in_flight=100, max_attempts=3)
        self.budget = budget
        self.production_id = self.read([])

    def read(self, wanted: list[Clip]) -> str:
        return self.ledger.productions.record_snapshot(
            "/in/manifest.csv",
            "/out",
            snapshot_path="/out/snapshot.parquet",
            manifest_sha256="0" * 64,
            snapshot_sha256="1" * 64,
            budget_usd=self.budget,
            wanted=wanted,
        ).production_id

    def register(self, *clips: Clip | str) -> None:
        wanted = [each if isinstance(each, Clip) else clip(each) for each in clips]
        wanted = [replace(each, row_number=number) for number, each in enumerate(wanted, 1)]
        self.read(wanted)

    def pending(self) -> list[str]:
        return self.ledger.clips.pending(self.limits.max_attempts)

    def try_reserve(
        self, *clip_ids: str, cost: int = DOLLAR, owner: str | None = None, force: bool = False
    ) -> list[Attempt]:
        return self.attempts.reserve(
            dict.fromkeys(clip_ids, cost),
            batch_id="batch",
            limits=self.limits,
            lease_s=LEASE_S,
            owner=owner,
            force=force,
        ).reserved

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
