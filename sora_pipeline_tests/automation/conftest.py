"""Ticks sensors and runs what they request, as the daemon does, one step at a time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sora_pipeline import runtime
from sora_pipeline.automation.requests import requested_lease_s
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB, RANGE_END_TAG, RANGE_START_TAG
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline.settings import Settings
from sora_pipeline_tests.conftest import Clock, Sandbox

LEASE_S = requested_lease_s(Settings())
"""For how long clips are left to a run that was requested."""


@dataclass
class Tick:
    """What a sensor said."""

    requests: list[dg.RunRequest]
    skipped: str
    checks: list[dg.AssetCheckEvaluation]
    errors: list[str]

    @property
    def request(self) -> dg.RunRequest:
        assert len(self.requests) == 1, (self.requests, self.skipped)
        return self.requests[0]


@dataclass
class Daemon:
    """Evaluates sensors with their cursors, and executes run requests in this process.

    Attributes:
        instance: Dagster's storage.
        load: Loads the code location, anew for every tick and run, as a process does that has just begun.
        cursors: Of the sensors, by their names.
    """

    instance: dg.DagsterInstance
    load: Callable[[], dg.Definitions] = lambda: VideoPipeline().definitions()
    cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def definitions(self) -> dg.Definitions:
        return self.load()

    def tick(self, name: str) -> Tick:
        definitions = self.definitions
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            definitions=definitions,
            resources=dict(definitions.resources or {}),
            sensor_name=name,
        ) as context:
            data = definitions.resolve_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = data.cursor or self.cursors.get(name)
        checks = [each for each in data.asset_events if isinstance(each, dg.AssetCheckEvaluation)]
        errors = [str(each.error) for each in data.dagster_run_reactions or [] if each.error]
        return Tick(list(data.run_requests or []), data.skip_message or "", checks, errors)

    def run(self, request: dg.RunRequest, job_name: str | None = None) -> dg.ExecuteInProcessResult:
        job = self.definitions.resolve_job_def(request.job_name or job_name or "")
        return job.execute_in_process(
            run_config=request.run_config, tags=request.tags, instance=self.instance, raise_on_error=False
        )

    def a_run(
        self, status: dg.DagsterRunStatus, tags: dict[str, str], job: str = GENERATIONS_JOB
    ) -> dg.DagsterRun:
        """A run that the instance knows of and nobody executes."""
        return self.instance.create_run_for_job(
            self.definitions.resolve_job_def(job), status=status, tags=tags
        )


def range_of(request: dg.RunRequest) -> tuple[str, str]:
    """The first and the last partition that a run is asked to serve."""
    return request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]


def wait_until_rendered(sandbox: Sandbox, clock: Clock) -> None:
    deadline = time.monotonic() + 20
    while sandbox.http.get("/sandbox/health").json()["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    clock.turn(2)  # the next polls are due


@pytest.fixture
def daemon(
    sandbox: Sandbox,
    ledger: Ledger,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Daemon:
    """A daemon whose every process has the ledger with the clock that tests turn."""
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)

    def the_ledger(url: str) -> Any:
        return ledger

    monkeypatch.setattr(runtime, "open_ledger", the_ledger)
    return Daemon(instance)
