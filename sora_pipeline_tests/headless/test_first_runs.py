"""What a command has executed itself while the daemon comes up: just what the sensors would request, and once."""

import signal
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sora_pipeline.automation.requests import fail_killed_runs
from sora_pipeline.headless import first_runs as first_runs_module
from sora_pipeline.headless import run_processes
from sora_pipeline.headless.first_runs import FirstRuns
from sora_pipeline.headless.run import HeadlessRun
from sora_pipeline.headless.run_processes import RunProcesses
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB, MANIFEST_JOB, PUBLISH_JOB, REQUESTED_BY_TAG, PipelineNames
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline.production.progress import progress_of
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.run_locks import RunProcess, process_of
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Sandbox, keys, rows_of, settings_of
from sora_pipeline_tests.headless.conftest import children, next_executed, requested, until

READ, DISPATCH, PUBLISH = "manifest_request_sensor", "dispatch_sensor", "publish_sensor"


@pytest.fixture
def first_runs(storage: dg.DagsterInstance, processes: RunProcesses, tmp_path: Path) -> FirstRuns:
    # Loaded anew: the module keeps the settings, and so the database, of whatever test imported it first.
    defs = VideoPipeline().definitions()
    runtime = PipelineRuntime(PipelineNames(), settings_of())
    return FirstRuns(storage, defs, runtime, processes, tmp_path / "runs.log")


@pytest.fixture
def sensors(storage: dg.DagsterInstance) -> Daemon:
    """The daemon that comes up meanwhile."""
    return Daemon(storage)


def test_they_leave_nothing_to_request_for_the_sensors(
    first_runs: FirstRuns,
    sensors: Daemon,
    storage: dg.DagsterInstance,
    ledger: Ledger,
    sandbox: Sandbox,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    production = requested(ledger, tmp_path, rows_of(a="[sandbox:policy] a fox", b="[sandbox:policy] an owl"))
    would_be = sensors.tick(READ).request
    read = first_runs.read(production)
    assert read.failed is None
    assert (read.request.run_key, read.request.run_config) == (would_be.run_key, would_be.run_config)
    assert read.request.tags.items() <= would_be.tags.items()
    assert sensors.tick(READ).requests == []
    assert ledger.clips.pending(3) == keys("a", "b")

    first_runs.launch()
    assert sensors.tick(DISPATCH).requests == []
    submitted = next_executed(first_runs.wait)
    assert submitted.request.job_name == GENERATIONS_JOB
    assert "2 clips could not be submitted" in (submitted.failed or "")
    first_runs.launch()
    assert sensors.tick(DISPATCH).requests == []

    settled = ledger.productions.get("prompts")
    published = first_runs.publish(settled)
    assert published is not None
    assert published.failed is None
    assert (tmp_path / "out" / "metadata.parquet").exists()
    assert sensors.tick(PUBLISH).requests == []
    assert first_runs.publish(settled) is None, "once is enough, also where it failed"

    runs = {run.job_name: run for run in storage.get_runs()}
    asked_by = {job: run.tags[REQUESTED_BY_TAG] for job, run in runs.items()}
    assert asked_by == {MANIFEST_JOB: READ, GENERATIONS_JOB: DISPATCH, PUBLISH_JOB: PUBLISH}
    assert sandbox.billed == 0
    assert capfd.readouterr().out == "", "a command prints JSON, and nothing else"


def test_run_that_was_stopped_before_it_began_keeps_no_clip(
    first_runs: FirstRuns,
    sensors: Daemon,
    storage: dg.DagsterInstance,
    home: Path,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dagster would take it for one that may still begin, for three minutes; and so would the next command."""
    production = requested(ledger, tmp_path, rows_of(a="a fox"))
    assert first_runs.read(production).failed is None
    monkeypatch.setattr(run_processes, "END_S", 0.5)
    first_runs.launch()
    made = dg.RunsFilter(job_name=GENERATIONS_JOB)
    while not storage.get_runs(made):
        time.sleep(0.01)
    (child,) = children()
    child.suspend()
    (run,) = storage.get_runs(made)
    assert run.status is dg.DagsterRunStatus.NOT_STARTED
    first_runs.close()
    (run,) = storage.get_runs(made)
    assert run.status is dg.DagsterRunStatus.CANCELED
    catalogue = load_catalogue()
    headless = HeadlessRun(
        storage, home, ledger, settings_of(), catalogue, timeout_s=None, show=lambda _, __: None
    )
    headless._give_back("")
    assert ledger.clips.pending(3) == keys("a")
    assert len(sensors.tick(DISPATCH).requests) == 1


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, "KILLED"), (signal.SIGINT, "ENDED")])
def test_run_whose_process_has_ended_before_it_began_is_failed(
    first_runs: FirstRuns,
    processes: RunProcesses,
    sensors: Daemon,
    storage: dg.DagsterInstance,
    ledger: Ledger,
    tmp_path: Path,
    number: signal.Signals,
    status: str,
) -> None:
    """Its command was killed, and has told nobody."""
    production = requested(ledger, tmp_path, rows_of(a="a fox"))
    assert first_runs.read(production).failed is None
    first_runs.launch()
    made = dg.RunsFilter(job_name=GENERATIONS_JOB)
    while not storage.get_runs(made):
        time.sleep(0.01)
    (child,) = children()
    child.send_signal(number)
    runtime = PipelineRuntime(PipelineNames(), settings_of())
    (run,) = storage.get_runs(made)
    until(lambda: process_of(runtime.run_locks, run.run_id) is RunProcess[status])
    fail_killed_runs(storage, runtime)
    (run,) = storage.get_runs(made)
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_the_daemon_waits_for_the_first_submit_but_not_for_long(
    first_runs: FirstRuns, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = requested(ledger, tmp_path, rows_of(a="a fox"))
    assert first_runs.read(production).failed is None

    def come_first() -> bool:
        now = progress_of(ledger, ledger.productions.get("prompts"), settings_of(), load_catalogue())
        return first_runs.come_first(now)

    assert not come_first()
    ledger.pauses.pause("sandbox", 20)
    first_runs.launch()
    assert come_first()
    monkeypatch.setattr(first_runs_module, "HOLD_DAEMON_S", 0)
    assert not come_first()
    monkeypatch.setattr(first_runs_module, "HOLD_DAEMON_S", 600)
    until(lambda: not come_first())
    assert next_executed(first_runs.wait).failed is None


def test_a_manifest_that_cannot_be_read_is_said_as_the_sensors_run_would_say_it(
    first_runs: FirstRuns, ledger: Ledger, tmp_path: Path
) -> None:
    production = requested(ledger, tmp_path, rows_of(a="a fox"))
    (tmp_path / "prompts.csv").unlink()
    read = first_runs.read(production)
    assert "there is no such file" in (read.failed or "")
    assert "there is no such file" in (ledger.productions.get("prompts").error or "")


def test_what_fails_unforeseen_is_left_to_the_daemon(
    first_runs: FirstRuns, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise ConnectionError("the database is away")

    production = requested(ledger, tmp_path, rows_of(a="a fox"))
    monkeypatch.setattr(first_runs_module, "plan_first_runs", broken)
    first_runs.launch()
    monkeypatch.setattr(first_runs_module, "execute", broken)
    assert first_runs.read(production).failed == "it could not be executed: ConnectionError"
    log = (tmp_path / "runs.log").read_text()
    assert log.count("ConnectionError: the database is away") == 2
