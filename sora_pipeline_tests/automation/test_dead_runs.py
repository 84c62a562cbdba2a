"""Runs whose process was killed do not stay STARTED for ever, where they would hold a place in the queue."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.automation import requests
from sora_pipeline.automation.requests import bury_killed_runs
from sora_pipeline.living import Life, life_of, living
from sora_pipeline.names import GENERATIONS_JOB, VIDEOS_JOB
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Producer, rows_of

WORKER = """
import pathlib, sys, time
from sora_pipeline.living import living
with living(pathlib.Path(sys.argv[1]), sys.argv[2]):
    print("works", flush=True)
    time.sleep(60)
"""


@contextmanager
def worker(home: Path, run_id: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that works on a run."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(home), run_id], stdout=subprocess.PIPE)
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


def test_run_is_buried_once_its_process_was_killed(daemon: Daemon, home: Path) -> None:
    run_id = daemon.a_run(dg.DagsterRunStatus.STARTED, {}, VIDEOS_JOB).run_id
    with worker(home, run_id) as process:
        bury_killed_runs(daemon.instance)
        assert status(daemon.instance, run_id) is dg.DagsterRunStatus.STARTED
        process.kill()
        process.wait()
        daemon.tick("dispatch_sensor")
        assert status(daemon.instance, run_id) is dg.DagsterRunStatus.FAILURE
    assert life_of(home, run_id) is Life.UNKNOWN, "it is forgotten"


def test_run_that_is_about_to_end_is_left_alone(daemon: Daemon, home: Path) -> None:
    run_id = daemon.a_run(dg.DagsterRunStatus.STARTED, {}).run_id
    with living(home, run_id):
        assert life_of(home, run_id) is Life.LIVES
    bury_killed_runs(daemon.instance)
    assert status(daemon.instance, run_id) is dg.DagsterRunStatus.STARTED
    assert life_of(home, run_id) is Life.ENDED


def test_run_that_never_showed_itself_is_buried_after_a_while(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = daemon.a_run(dg.DagsterRunStatus.NOT_STARTED, {}).run_id
    run = daemon.instance.get_run_by_id(run_id)
    assert run is not None
    daemon.instance.report_engine_event("begins", run)
    daemon.instance.report_dagster_event(
        dg.DagsterEvent(event_type_value="PIPELINE_START", job_name=GENERATIONS_JOB), run_id
    )
    bury_killed_runs(daemon.instance)
    assert status(daemon.instance, run_id) is dg.DagsterRunStatus.STARTED
    monkeypatch.setattr(requests, "START_S", 0.0)
    bury_killed_runs(daemon.instance)
    assert status(daemon.instance, run_id) is dg.DagsterRunStatus.FAILURE


def test_runs_that_end_in_order_are_forgotten(daemon: Daemon, home: Path, production: Producer) -> None:
    production(rows_of(a="a fox"))
    result = daemon.run(daemon.tick("dispatch_sensor").request, GENERATIONS_JOB)
    assert life_of(home, result.run_id) is Life.ENDED
    daemon.tick("dispatch_sensor")
    assert life_of(home, result.run_id) is Life.UNKNOWN
