"""Ticks sensors and runs what they request, as the daemon does, one step at a time."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sora_pipeline import resources
from sora_pipeline.automation.requests import requested_lease_s
from sora_pipeline.definitions import build_definitions
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB
from sora_pipeline.settings import Settings
from sora_pipeline_tests.conftest import Sandbox

LEASE_S = requested_lease_s(Settings())
"""For how long clips are left to a run that was requested."""


@dataclass
class Tick:
    """What a sensor said."""

    requests: list[dg.RunRequest]
    skipped: str
    checks: list[dg.AssetCheckEvaluation]

    @property
    def request(self) -> dg.RunRequest:
        assert len(self.requests) == 1, (self.requests, self.skipped)
        return self.requests[0]


@dataclass
class Daemon:
    """Evaluates sensors with their cursors, and executes run requests in this process."""

    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)

    @property
    def definitions(self) -> dg.Definitions:
        return build_definitions(Settings.from_env())

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
        return Tick(list(data.run_requests or []), data.skip_message or "", checks)

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

    monkeypatch.setattr(resources, "_ledger", the_ledger)
    return Daemon(instance)
