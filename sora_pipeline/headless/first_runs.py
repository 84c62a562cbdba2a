"""The first runs of a production: the command has them executed itself, while the Dagster daemon comes up.

They are the runs that the sensors would request, with the same config and tags. The ledger decides what is under way and may
be paid for: whatever is left undone here, the daemon's sensors find and finish.
"""

import time
import traceback
import uuid
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from sora_pipeline.automation.first_runs import plan_first_runs
from sora_pipeline.automation.manifests import manifest_request
from sora_pipeline.automation.publish import publish_request
from sora_pipeline.automation.requests import NOT_STARTED
from sora_pipeline.headless.execution import execute, told_to
from sora_pipeline.headless.run_processes import Executed, RunProcesses, order_of
from sora_pipeline.ledger import AttemptState, Production
from sora_pipeline.names import PRODUCTION_TAG
from sora_pipeline.production.progress import Progress
from sora_pipeline.runtime import PipelineRuntime

HOLD_DAEMON_S = 4.0
"""How long the daemon waits for the first submit, which needs the processor more."""
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


class FirstRuns:
    """What a command has executed itself, and when: manifest, submits and, once all has settled, the output manifest.

    Manifests are read and published in this very process, which has loaded what that takes.

    Args:
        instance: The Dagster instance.
        defs: The code location, as this process has loaded it.
        runtime: Of its pipeline, with the same settings.
        processes: For the runs over clips.
        log: Where the runs of this process print.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        defs: dg.Definitions,
        runtime: PipelineRuntime,
        processes: RunProcesses,
        log: Path,
    ) -> None:
        self._instance = instance
        self._defs = defs
        self._runtime = runtime
        self._processes = processes
        self._log = log
        self._began_at = datetime.now(UTC)
        self._launched_at: float | None = None
        self._published_change: int | None = None
        self._later: list[dg.RunRequest] = []

    def read(self, production: Production) -> Executed:
        """Read the manifest that was asked for."""
        return self._execute(manifest_request(self._runtime.names, production, self._runtime.ledger.now()))

    def publish(self, production: Production) -> Executed | None:
        """Publish a production that has settled, unless the daemon is about to, or it was of no use before."""
        if production.change_seq == self._published_change or self.publishing(production):
            return None
        self._published_change = production.change_seq
        return self._execute(publish_request(self._runtime.names, production, self._runtime.ledger.now()))

    def launch(self) -> None:
        """Once: have those runs executed that the sensors would request now."""
        if self._launched_at is not None:
            return
        self._launched_at = time.monotonic()
        with told_to(self._log):
            try:
                requests = plan_first_runs(self._instance, self._runtime)
            except Exception:  # a database that is away, for one; the daemon's sensor comes to it later
                traceback.print_exc()
                return
        for request in requests[:1]:
            self._processes.execute(request)
        self._later = requests[1:]

    def come_first(self, progress: Progress) -> bool:
        """Whether the daemon had better not start yet, and take the processor from the first submit."""
        if self._launched_at is None or not self._processes.under_way(self._runtime.names.generations_job):
            return False
        sent = progress.working > progress.at_work[AttemptState.RESERVED]
        return not sent and time.monotonic() - self._launched_at < HOLD_DAEMON_S

    def launch_the_rest(self) -> None:
        """Have those runs executed, too, for which there was no process yet."""
        for request in self._later:
            self._processes.execute(request)
        self._later.clear()

    def publishing(self, production: Production) -> bool:
        """Whether a run that publishes it is under way, here or at the daemon; if we ended now, it would fail."""
        filters = dg.RunsFilter(
            job_name=self._runtime.names.publish_job,
            tags={PRODUCTION_TAG: production.production_id},
            statuses=UNFINISHED,
            created_after=self._began_at,
        )
        try:
            return bool(self._instance.get_runs(filters=filters, limit=1))
        except Exception:  # nobody can tell while Dagster's storage is away
            return False

    def wait(self, seconds: float) -> Executed | None:
        """The next run that has ended; None where none has within this time."""
        if not self._processes.alive:
            time.sleep(seconds)
            return None
        return self._processes.wait(seconds)

    def close(self) -> None:
        """Interrupt what is under way, and see to it that all processes have ended."""
        left = self._processes.unanswered
        self._processes.close()
        with told_to(self._log):
            try:
                for run_id in left:
                    self._cancel_before_its_start(run_id)
            except Exception:  # Dagster's storage is away, for one
                traceback.print_exc()

    def _cancel_before_its_start(self, run_id: str) -> None:
        """Tell Dagster of a run that nobody will start any more: it would wait for it for minutes, and so would its clips."""
        run = self._instance.get_run_by_id(run_id)
        if run is not None and run.status in NOT_STARTED:
            self._instance.report_run_canceled(run, "The command was stopped before this run began.")

    def _execute(self, request: dg.RunRequest) -> Executed:
        run_id = str(uuid.uuid4())
        with told_to(self._log):
            try:
                failed = execute(self._defs, self._instance, run_id=run_id, **order_of(request))
            except (
                Exception
            ) as error:  # Dagster's storage is away, for one; the daemon's sensors come to it later
                traceback.print_exc()
                failed = f"it could not be executed: {type(error).__name__}"
        return Executed(request, run_id, failed)
