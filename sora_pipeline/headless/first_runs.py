"""The first runs of a production: the command has them executed itself, while the Dagster daemon comes up.

They are the runs that the sensors would request, with the same config and tags. The ledger decides what is under way and may
be paid for: whatever is left undone here, the daemon's sensors find and finish.
"""

import time
from datetime import UTC, datetime

import dagster as dg

from sora_pipeline.automation.dispatch import plan_runs
from sora_pipeline.automation.manifests import manifest_request
from sora_pipeline.automation.publish import publish_request
from sora_pipeline.headless.run_processes import Executed, RunProcesses
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

    Args:
        instance: The Dagster instance.
        runtime: Of the pipeline.
        processes: That execute the runs.
    """

    def __init__(
        self, instance: dg.DagsterInstance, runtime: PipelineRuntime, processes: RunProcesses
    ) -> None:
        self._instance = instance
        self._runtime = runtime
        self._processes = processes
        self._began_at = datetime.now(UTC)
        self._launched_at: float | None = None
        self._published_change: int | None = None
        self._later: list[dg.RunRequest] = []

    def read(self, production: Production) -> None:
        """Have the manifest read that was asked for."""
        self._processes.execute(manifest_request(self._runtime.names, production, self._runtime.ledger.now()))

    def go_on(self, progress: Progress | None) -> bool:
        """Have done what comes next.

        Args:
            progress: How far the production is; None: its manifest is not read yet.

        Returns:
            Whether no daemon is needed yet, or had better not take the processor from the first submit.
        """
        if progress is None or self._under_way(self._runtime.names.manifest_job):
            return self._under_way(self._runtime.names.manifest_job)
        if progress.settled:
            return progress.published or self._publish(progress.production)
        if self._launched_at is None:
            self._launch()
        return self._sending_first(progress)

    def go_on_with_the_rest(self) -> None:
        """Have those runs executed, too, for which there was no process yet."""
        for request in self._later:
            self._processes.execute(request)
        self._later.clear()

    def _launch(self) -> None:
        """Have those runs executed that the dispatch sensor would request now."""
        self._launched_at = time.monotonic()
        if self._processes.idle is None:  # it was killed
            return
        requests, _ = plan_runs(self._instance, self._runtime)
        for request in requests[:1]:
            self._processes.execute(request)
        self._later = requests[1:]

    def _sending_first(self, progress: Progress) -> bool:
        assert self._launched_at is not None
        if not self._under_way(self._runtime.names.generations_job):
            return False
        sent = progress.working > progress.at_work[AttemptState.RESERVED]
        return not sent and time.monotonic() - self._launched_at < HOLD_DAEMON_S

    def _publish(self, production: Production) -> bool:
        """Publish what has settled, unless somebody is at it or no process is free; whether that is under way here."""
        job_name, change = self._runtime.names.publish_job, production.change_seq
        if self._processes.idle and change != self._published_change and not self.publishing(production):
            self._published_change = change
            now = self._runtime.ledger.now()
            self._processes.execute(publish_request(self._runtime.names, production, now))
        return self._under_way(job_name)

    def _under_way(self, job_name: str) -> bool:
        return self._processes.under_way(job_name)

    def publishing(self, production: Production) -> bool:
        """Whether a run that publishes it is under way, here or at the daemon; if we ended now, it would fail."""
        filters = dg.RunsFilter(
            job_name=self._runtime.names.publish_job,
            tags={PRODUCTION_TAG: production.production_id},
            statuses=UNFINISHED,
            created_after=self._began_at,
        )
        return bool(self._instance.get_runs(filters=filters, limit=1))

    def wait(self, seconds: float) -> Executed | None:
        """The next run that has ended; None where none has within this time."""
        if not self._processes.alive:
            time.sleep(seconds)
            return None
        return self._processes.wait(seconds)

    def close(self) -> None:
        """Interrupt what is under way, and see to it that all processes have ended."""
        self._processes.close()
