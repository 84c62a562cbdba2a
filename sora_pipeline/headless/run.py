"""The whole job for the command line: ask for a production, keep a daemon alive, watch until it is done."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg

from sora_pipeline.advice import explained
from sora_pipeline.headless.daemon import DaemonKeeper
from sora_pipeline.ledger import AttemptState, Ledger, Production
from sora_pipeline.names import MANIFEST_JOB, PRODUCTION_TAG
from sora_pipeline.production.progress import Progress, progress_of, why_left_open
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings

LOOK_S = 1.0
PUBLISH_PATIENCE_S = 60.0
LAST_ANSWERS_S = 15.0
"""How long a stop waits for the answers to submits under way; no further one begins meanwhile."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a headless run ended.

    Attributes:
        progress: The last look at the production; None where its manifest was not even read.
        stopped: Why it stopped before everything was settled, or None.
        problem: Why the manifest could not be read, or None.
    """

    progress: Progress | None
    stopped: str | None = None
    problem: str | None = None


class HeadlessRun:
    """One production, from the request to the published output manifest.

    Args:
        instance: The Dagster instance.
        home: The Dagster home.
        ledger: The ledger.
        settings: The settings.
        catalogue: Prices, for the budget's sake.
        timeout_s: Seconds after which to stop watching; None: never.
        show: Called with every new look at the production.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        home: Path,
        ledger: Ledger,
        settings: Settings,
        catalogue: Catalogue,
        *,
        timeout_s: float | None,
        show: Callable[[Progress | None], None],
    ) -> None:
        self._instance = instance
        self._home = home
        self._ledger = ledger
        self._settings = settings
        self._catalogue = catalogue
        self._stop_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._show = show

    def produce(self, requested: Production) -> Ended:
        """Watch a requested production until nothing changes any more.

        Raises:
            DaemonError: the daemon that we started ended by itself.
        """
        assert requested.requested_at is not None
        with DaemonKeeper(self._instance, self._home) as daemon:
            try:
                return self._watch(requested, requested.requested_at, daemon)
            finally:
                if daemon.own:
                    self._let_submits_end()

    def _watch(self, requested: Production, since: datetime, daemon: DaemonKeeper) -> Ended:
        settled_at: float | None = None
        while True:
            daemon.ensure()
            production = self._ledger.productions.get(requested.production_id)
            requested_at = production.requested_at or since  # a clock that was set moves it
            if production.read_at is None or production.read_at < requested_at:
                if (problem := self._failed_to_read(requested, requested_at)) is not None:
                    return Ended(None, problem=problem)
                self._show(None)
            elif production.error is not None:
                return Ended(None, problem=production.error)
            else:
                progress = progress_of(self._ledger, production, self._settings, self._catalogue)
                self._show(progress)
                if progress.settled:
                    settled_at = settled_at or time.monotonic()
                    patience = time.monotonic() - settled_at > PUBLISH_PATIENCE_S
                    if progress.published or patience:
                        stopped = None if progress.stopped is None else explained(progress.stopped)
                        return Ended(progress, stopped=stopped)
                else:
                    settled_at = None
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                return self._timed_out(production)
            time.sleep(LOOK_S)

    def _let_submits_end(self) -> None:
        """Hear the answers to requests that are on their way, before the runs that wait for them are ended.

        Their clips would be ambiguous otherwise. A second Ctrl-C does not wait.
        """
        if not self._ledger.attempts.live(AttemptState.RESERVED, AttemptState.SUBMITTING):
            return
        self._ledger.pauses.pause(self._settings.account_name, LAST_ANSWERS_S)
        give_up = time.monotonic() + LAST_ANSWERS_S
        while self._ledger.attempts.live(AttemptState.SUBMITTING) and time.monotonic() < give_up:
            time.sleep(0.1)

    def _timed_out(self, production: Production) -> Ended:
        progress = None
        if production.read_at is not None:
            progress = progress_of(self._ledger, production, self._settings, self._catalogue)
        stopped = (
            "the --timeout was reached; what renders goes on at the provider, and the same command resumes"
        )
        if progress is not None and progress.elsewhere:
            reasons = (why_left_open(account, count) for account, count in progress.elsewhere.items())
            stopped = " ".join(["the --timeout was reached.", *map(explained, reasons)])
        return Ended(progress, stopped=stopped)

    def _failed_to_read(self, production: Production, since: datetime) -> str | None:
        """Whether the run that was to read the manifest failed for a reason of its own."""
        filters = dg.RunsFilter(
            job_name=MANIFEST_JOB,
            tags={PRODUCTION_TAG: production.production_id},
            statuses=[dg.DagsterRunStatus.FAILURE],
            created_after=since,
        )
        failed = self._instance.get_runs(filters=filters, limit=1)
        if not failed:
            return None
        return f"the Dagster run {failed[0].run_id} that read the manifest failed; see its log with `sora-pipeline dev`"
