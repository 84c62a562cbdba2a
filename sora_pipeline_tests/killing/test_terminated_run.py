"""A person terminates a run that submits, on the real daemon: it ends, and what it had not sent waits for a word."""

import time
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.ledger import AttemptState
from sora_pipeline.names import GENERATIONS_JOB
from sora_pipeline_tests.conftest import QUICK, keys, write_manifest
from sora_pipeline_tests.killing.second_pipeline import SANDBOX
from sora_pipeline_tests.killing.stage import Stage, stage

CLIP_IDS = [f"clip-{number}" for number in range(8)]
SLOWLY = {"SORA_SUBMITS_PER_MINUTE": "6", "SORA_BATCH_SIZE": "8", "SORA_MAX_IN_FLIGHT": "10"}


def submitting(world: Stage) -> dg.DagsterRun | None:
    """The run that submits, once the provider has accepted the first of its clips."""
    filters = dg.RunsFilter(job_name=GENERATIONS_JOB, statuses=[dg.DagsterRunStatus.STARTED])
    runs = world.instance.get_runs(filters=filters, limit=1)
    return runs[0] if runs and world.bills()[SANDBOX]["accepted"] else None


@pytest.mark.timeout(400)
def test_a_terminated_run_ends_and_its_clips_wait_for_a_word(tmp_path: Path) -> None:
    with stage(tmp_path, QUICK | {"shared_renders": True}, {}, SLOWLY, supervised=True) as world:
        rows = [{"clip_id": each, "prompt": each} for each in CLIP_IDS]
        world.request(write_manifest(tmp_path / "prompts.csv", rows))
        give_up = time.monotonic() + 120
        while (run := submitting(world)) is None:
            world.daemon.ensure()
            assert time.monotonic() < give_up, world.situation()
            time.sleep(0.2)
        assert world.instance.run_coordinator.cancel_run(run.run_id)
        world.settle(timeout_s=120)
        ended = world.instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.CANCELED
        billed = world.bills()[SANDBOX]["accepted"]
        assert billed < len(CLIP_IDS)
        newest = {each.clip_key: each for each in world.ledger.attempts.of_clips(keys(*CLIP_IDS))}
        waiting = [each for each in newest.values() if each.state is AttemptState.FAILED]
        assert {each.failure.kind for each in waiting if each.failure} == {"terminated"}
        assert len(waiting) >= len(CLIP_IDS) - billed - 1, "one may have been on its way"

        assert set(world.retry([each.clip_key for each in waiting]).anew) == {
            each.clip_key for each in waiting
        }
        assert world.ledger.clips.pending(3) == [each.clip_key for each in waiting]
