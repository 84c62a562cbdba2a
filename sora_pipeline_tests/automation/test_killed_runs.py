"""Runs whose process was killed do not stay STARTED for ever, where they would hold a place in the queue."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.automation import requests
from sora_pipeline.automation.requests import fail_killed_runs
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB, VIDEOS_JOB, PipelineNames
from sora_pipeline.run_locks import RunProcess, process_of, run_lock
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.settings import Settings
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Producer, rows_of

BUILT_IN = PipelineRuntime(PipelineNames(), Settings())
FOLDER = BUILT_IN.names.run_lock_folder
WORKER = """
import pathlib, sys, time
from sora_pipeline.run_locks import run_lock
with run_lock(pathlib.Path(sys.argv[1]), sys.argv[2]):
    print("works", flush=True)
    time.sleep(60)
"""


@contextmanager
def worker(home: Path, run_id: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that works on a run."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(home / FOLDER), run_id], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"works\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def started(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Have Dagster note that a run has begun, and by when."""
    instance.report_engine_event("begins", run)
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=run.job_name)
    instance.report_dagster_event(event, run.run_id)
    return run.run_id


def test_run_is_buried_once_its_process_was_killed(daemon: Daemon, home: Path) -> None:
    run_id = daemon.a_run(dg.DagsterRunStatus.STARTED, {}, VIDEOS_JOB).run_id
    with worker(home, run_id) as process:
        fail_killed_runs(daemon.instance, BUILT_IN)
        assert status(daemon.instance, run_id) is dg.DagsterRunStatus.STARTED
        process.kill()
        process.wait()
        daemon.tick("dispatch_sensor")
        assert status(daemon.instance, run_id) is dg.DagsterRunStatus.FAILURE
    assert process_of(home / FOLDER, run_id) is RunProcess.UNKNOWN, "it is forgotten"


def test_run_that_is_about_to_end_is_left_alone(daemon: Daemon, home: Path) -> None:
    run_id = daemon.a_run(dg.DagsterRunStatus.STARTED, {}).run_id
    with run_lock(home / FOLDER, run_id):
        assert process_of(home / FOLDER, run_id) is RunProcess.LIVES
    fail_killed_runs(daemon.instance, BUILT_IN)
    assert status(daemon.instance, run_id) is dg.DagsterRunStatus.STARTED
    assert process_of(home / FOLDER, run_id) is RunProcess.ENDED


def test_run_that_never_showed_itself_is_buried_after_a_while(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = started(daemon.instance, daemon.a_run(dg.DagsterRunStatus.NOT_STARTED, {}))
    fail_killed_runs(daemon.instance, BUILT_IN)
    assert status(daemon.instance, run_id) is dg.DagsterRunStatus.STARTED
    monkeypatch.setattr(requests, "START_S", 0.0)
    fail_killed_runs(daemon.instance, BUILT_IN)
    assert status(daemon.instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_jobs_of_the_same_name_in_another_code_location_are_left_alone(
    ledger: Ledger, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project may have a ``videos_job`` of its own beside ours, on the same instance."""
    monkeypatch.setattr(requests, "START_S", 0.0)
    module = "sora_pipeline.definitions"
    run_id = "5a0e4a3c-9f3c-4c47-9a56-3d3b4f0f1c11"
    dagster = Path(sys.executable).with_name("dagster")
    launch = [str(dagster), "job", "launch", "-m", module, "-j", VIDEOS_JOB, "--run-id", run_id]
    subprocess.run(launch, check=True, capture_output=True)
    with dg.DagsterInstance.get() as instance:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        assert run.status is dg.DagsterRunStatus.QUEUED, "no daemon takes it"
        started(instance, run)

        fail_killed_runs(instance, BUILT_IN, "the project's own")
        assert status(instance, run_id) is dg.DagsterRunStatus.STARTED
        fail_killed_runs(instance, BUILT_IN, module)
        assert status(instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_runs_that_end_in_order_are_forgotten(daemon: Daemon, home: Path, production: Producer) -> None:
    production(rows_of(a="a fox"))
    result = daemon.run(daemon.tick("dispatch_sensor").request, GENERATIONS_JOB)
    assert process_of(home / FOLDER, result.run_id) is RunProcess.ENDED
    daemon.tick("dispatch_sensor")
    assert process_of(home / FOLDER, result.run_id) is RunProcess.UNKNOWN
