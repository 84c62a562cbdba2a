"""Dagster's queue is full of runs that go on: others get a place all the same, on the real daemon, and nothing is made twice."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import dagster as dg
import pytest

from sora_pipeline.names import GENERATIONS_JOB, VIDEOS_JOB
from sora_pipeline_tests.conftest import QUICK, write_manifest
from sora_pipeline_tests.killing.second_pipeline import SANDBOX
from sora_pipeline_tests.killing.stage import Stage, stage

LONG, SHORT = 24, 2
SETTINGS = {"SORA_MAX_IN_FLIGHT": "2", "SORA_BATCH_SIZE": "30"}
TWO_PLACES = {"max_concurrent_runs: 10": "max_concurrent_runs: 2"}
Found = TypeVar("Found")


def manifest(folder: Path, name: str, clips: int) -> Path:
    rows = [{"clip_id": f"clip-{number}", "prompt": f"{number} of {name}"} for number in range(clips)]
    return write_manifest(folder / f"{name}.csv", rows)


def wait_for(world: Stage, what: str, found: Callable[[], Found]) -> Found:
    give_up = time.monotonic() + 150
    while not (answer := found()):
        world.daemon.ensure()
        assert time.monotonic() < give_up, f"{what}: {world.situation()}"
        time.sleep(0.2)
    return answer


@pytest.mark.timeout(900)
def test_a_second_production_is_read_while_the_first_holds_every_place(tmp_path: Path) -> None:
    sandbox = QUICK | {"shared_renders": True, "render_s": 6.0}
    with stage(tmp_path, sandbox, {}, SETTINGS, supervised=True, dagster=TWO_PLACES) as world:

        def both_at_work() -> set[str]:
            started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
            runs = {run.job_name: run.run_id for run in world.instance.get_runs(filters=started)}
            return set(runs.values()) if {GENERATIONS_JOB, VIDEOS_JOB} <= runs.keys() else set()

        world.request(manifest(tmp_path, "long", LONG))
        full = wait_for(world, "both places are taken", both_at_work)
        world.request(manifest(tmp_path, "short", SHORT))
        wait_for(world, "short is read", lambda: world.ledger.productions.get("short").read_at)
        counts = world.ledger.clips.counts("long", 3)
        assert counts.delivered < LONG, "the first production was still at work"
        world.settle(timeout_s=200)

        left = [world.instance.get_run_by_id(run_id) for run_id in full]
        assert {run.status for run in left if run} == {dg.DagsterRunStatus.SUCCESS}
        bill = world.bills()[SANDBOX]
        assert (bill["accepted"], bill["duplicates"]) == (LONG + SHORT, [])
        assert set(world.statuses().values()) == {"delivered"}
