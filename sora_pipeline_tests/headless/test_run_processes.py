"""The processes in which a command executes runs: real ones, on a real home, with the real provider."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import psutil
import pytest

from sora_pipeline.automation.dispatch import plan_runs
from sora_pipeline.automation.manifests import manifest_request
from sora_pipeline.automation.requests import fail_killed_runs
from sora_pipeline.headless.run_processes import Executed, RunProcesses
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.names import GENERATIONS_JOB, MANIFEST_JOB, RUN_KEY_TAG, PipelineNames
from sora_pipeline.run_locks import RunProcess, process_of
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline_tests.conftest import Sandbox, keys, latest, rows_of, settings_of, standing
from sora_pipeline_tests.headless.conftest import children, next_executed, requested, until

PARENT = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # tests that execute runs in the background have it ignored
from sora_pipeline.headless.run_processes import RunProcesses
processes = RunProcesses(Path(sys.argv[1]))
print("started", flush=True)
time.sleep(120)
"""


def executed(processes: RunProcesses) -> Executed:
    return next_executed(processes.wait)


def request_to_read(ledger: Ledger, folder: Path, rows: list[dict[str, str]]) -> dg.RunRequest:
    return manifest_request(PipelineNames(), requested(ledger, folder, rows), ledger.now())


def request_to_submit(storage: dg.DagsterInstance) -> dg.RunRequest:
    (request,), _ = plan_runs(storage, PipelineRuntime(PipelineNames(), settings_of()))
    return request


def test_it_executes_what_the_sensors_request(
    processes: RunProcesses, storage: dg.DagsterInstance, ledger: Ledger, sandbox: Sandbox, tmp_path: Path
) -> None:
    reading = request_to_read(ledger, tmp_path, rows_of(a="a fox", b="[sandbox:policy] an owl"))
    processes.execute(reading)
    assert processes.under_way(MANIFEST_JOB)
    ended = executed(processes)
    assert (ended.request, ended.failed) == (reading, None)
    assert ledger.clips.pending(3) == keys("a", "b")
    run = storage.get_run_by_id(ended.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert run.run_config == reading.run_config
    assert dict(reading.tags).items() <= run.tags.items()
    assert run.tags[RUN_KEY_TAG] == reading.run_key

    processes.execute(request_to_submit(storage))
    ended = executed(processes)
    assert ended.failed is not None
    assert "1 clip could not be submitted" in ended.failed
    assert (sandbox.billed_for("fox"), sandbox.billed_for("owl")) == (1, 0)
    assert len(children()) == 1


def test_a_process_that_was_told_nothing_leaves_no_trace(
    processes: RunProcesses, home: Path, storage: dg.DagsterInstance
) -> None:
    before = sorted(path for path in home.rglob("*") if "-wal" not in path.name and "-shm" not in path.name)
    until(lambda: bool(children()))  # for a moment it has no name
    (child,) = children()
    began = time.monotonic()
    processes.close()
    assert time.monotonic() - began < 5
    assert not child.is_running()
    after = sorted(path for path in home.rglob("*") if "-wal" not in path.name and "-shm" not in path.name)
    assert after == before
    assert storage.get_runs() == []


def test_a_process_that_is_killed_is_seen_to_be_gone_and_its_run_fails(
    processes: RunProcesses, storage: dg.DagsterInstance, ledger: Ledger, home: Path, tmp_path: Path
) -> None:
    processes.execute(request_to_read(ledger, tmp_path, rows_of(a="[sandbox:slow-answer] a fox")))
    assert executed(processes).failed is None
    processes.execute(request_to_submit(storage))
    until(lambda: latest(ledger, "a").state is AttemptState.SUBMITTING)
    (child,) = children()
    child.kill()
    until(lambda: processes.wait(0.1) is None and not processes.alive)
    assert not processes.under_way(GENERATIONS_JOB)
    (run,) = storage.get_runs(filters=dg.RunsFilter(job_name=GENERATIONS_JOB))
    names = PipelineNames()
    assert process_of(home / names.run_lock_folder, run.run_id) is RunProcess.KILLED
    fail_killed_runs(storage, PipelineRuntime(names, settings_of()))
    failed = storage.get_run_by_id(run.run_id)
    assert failed is not None
    assert failed.status is dg.DagsterRunStatus.FAILURE


def test_a_run_that_a_person_terminates_ends_and_the_process_goes_on(
    processes: RunProcesses,
    storage: dg.DagsterInstance,
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading = request_to_read(ledger, tmp_path, rows_of(a="a fox"))
    processes.execute(reading)
    assert executed(processes).failed is None
    ledger.pauses.pause("sandbox", 600)  # it waits before it sends
    processes.execute(request_to_submit(storage))
    until(lambda: bool(storage.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))))
    (run,) = storage.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    storage.run_coordinator.cancel_run(run.run_id)
    ended = executed(processes)
    assert (ended.run_id, ended.failed) == (run.run_id, None)
    canceled = storage.get_run_by_id(run.run_id)
    assert canceled is not None
    assert canceled.status is dg.DagsterRunStatus.CANCELED
    processes.execute(reading)
    assert executed(processes).failed is None


def test_closing_interrupts_a_run_and_leaves_it_failed(
    processes: RunProcesses, storage: dg.DagsterInstance, ledger: Ledger, sandbox: Sandbox, tmp_path: Path
) -> None:
    processes.execute(request_to_read(ledger, tmp_path, rows_of(a="a fox")))
    assert executed(processes).failed is None
    ledger.pauses.pause("sandbox", 600)
    processes.execute(request_to_submit(storage))
    until(lambda: bool(storage.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))))
    processes.close()
    assert not children()
    (run,) = storage.get_runs(filters=dg.RunsFilter(job_name=GENERATIONS_JOB))
    assert run.status is dg.DagsterRunStatus.FAILURE
    kept = standing(ledger, "a").latest
    assert kept is None or kept.state is AttemptState.RESERVED  # given back where it had begun to wait
    assert sandbox.billed == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_when_the_command_is_killed(
    storage: dg.DagsterInstance, tmp_path: Path, number: signal.Signals
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "runs.log")],
        stdout=subprocess.PIPE,
        env=dict(os.environ),
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"started\n"
    (child,) = psutil.Process(parent.pid).children()
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    child.wait(20)
