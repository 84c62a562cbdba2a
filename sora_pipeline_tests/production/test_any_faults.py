"""Whatever goes wrong, and in whatever order: each clip ends delivered or with a reason, at one bill an attempt at most."""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import Desk
from sora_pipeline.production.submitting import ensure_predictions, fail_transient
from sora_pipeline_tests.conftest import Office, Producer, Sandbox

# Those that take minutes of a test's time, or stop every clip alike, have tests of their own.
FAULTS = [
    "",
    "policy",
    "policy-late",
    "no-resource",
    "no-resource-once",
    "fail-once",
    "error-503-once",
    "html-502",
    "lost-answer",
    "lost-answer-once",
    "reset",
    "late-file",
    "expired",
    "short-body",
    "truncated",
    "wrong-size",
    "wrong-type",
    "empty-output",
    "poll-errors",
    "unknown-status",
    "uppercase",
    "cancelled",
]


async def produce(desk: Desk, clip_ids: list[str]) -> None:
    """What sensors do, without their waits: submit what is pending, fetch what is in flight, until nothing is left."""
    for number in range(desk.settings.max_attempts + 1):
        pending = desk.ledger.clips.pending(desk.settings.max_attempts)
        if not pending:
            return
        ensured = await ensure_predictions(desk, pending, batch_id=f"batch-{number}", may_begin=True)
        fail_transient(desk, ensured)
        await collect_videos(desk, clip_ids, resume_timed_out=False)


def has_an_end(attempt: Attempt) -> bool:
    """Delivered, or not, with a kind and a sentence; a video that could not be fetched stays fetchable."""
    told = attempt.error_kind is not None and bool(attempt.error_message)
    return attempt.state is AttemptState.COLLECTED or (attempt.state is not AttemptState.IN_FLIGHT and told)


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.sampled_from(FAULTS), min_size=3, max_size=6))
def test_every_clip_ends_with_a_reason_and_one_bill_an_attempt(
    new_ledger: Callable[[], Ledger], impatient: None, sandbox: Sandbox, faults: list[str]
) -> None:
    sandbox.http.post("/sandbox/reset").raise_for_status()
    with tempfile.TemporaryDirectory() as name, dg.DagsterInstance.ephemeral() as instance:
        folder = Path(name)
        ledger = new_ledger()
        clip_ids = [f"clip-{number}" for number in range(len(faults))]
        prompts = [
            f"{clip_id} [sandbox:{fault}]" if fault else clip_id
            for clip_id, fault in zip(clip_ids, faults, strict=True)
        ]
        rows = [{"clip_id": each, "prompt": prompt} for each, prompt in zip(clip_ids, prompts, strict=True)]
        Producer(folder, ledger, instance)(rows)

        async def work() -> None:
            async with Office(sandbox, ledger).open() as desk, asyncio.timeout(60):
                await produce(desk, clip_ids)

        asyncio.run(work())
        bills = sandbox.bill()["by_prompt"]
        for clip_id, prompt in zip(clip_ids, prompts, strict=True):
            made = ledger.attempts.of_clips([clip_id])
            assert has_an_end(made[-1]), f"{prompt}: {made[-1]}"
            billed = [each for each in made if each.accepted_at or each.possibly_billed]
            sure = [each for each in made if each.accepted_at]
            assert len(sure) <= bills.get(prompt, 0) <= len(billed), f"{prompt}: {made}"
        ledger.close()
