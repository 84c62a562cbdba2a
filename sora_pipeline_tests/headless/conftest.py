"""A home on disk, which processes of their own have too, and the command's processes."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from sora_pipeline.headless.home import prepare_home
from sora_pipeline.headless.run_processes import Executed, RunProcesses
from sora_pipeline.ledger import Ledger, Plan, Production
from sora_pipeline_tests.conftest import Sandbox, write_manifest
from sora_pipeline_tests.production.parts import SANDBOX


@pytest.fixture
def storage(home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The home's own instance, which other processes have too."""
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def processes(storage: dg.DagsterInstance, tmp_path: Path) -> Iterator[RunProcesses]:
    processes = RunProcesses(tmp_path / "runs.log")
    processes.go_ahead()
    yield processes
    processes.close()


def children() -> list[psutil.Process]:
    """The processes that were started from here to execute runs."""
    found = []
    for each in psutil.Process().children():
        with contextlib.suppress(psutil.ZombieProcess):  # of another test, and ended
            if "sora_pipeline.headless.first_run" in each.cmdline():
                found.append(each)
    return found


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def next_executed(source: Callable[[float], Executed | None]) -> Executed:
    """The next run that ends."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        if (ended := source(1)) is not None:
            return ended
    raise AssertionError("no run has ended")


def requested(ledger: Ledger, folder: Path, rows: list[dict[str, str]]) -> Production:
    """What the command notes before anything is executed."""
    path = write_manifest(folder / "prompts.csv", rows)
    return ledger.productions.request(Plan("prompts", "", str(path), str(folder / "out"), SANDBOX))
