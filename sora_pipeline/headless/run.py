"""The whole job for the command line: ask for a production, keep a daemon alive, watch until it is done."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
from sqlalchemy.exc import DBAPIError

from sora_pipeline.advice import explained
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.headless.daemon import DaemonKeeper
from sora_pipeline.headless.first_runs import FirstRuns
from sora_pipeline.headless.last_submits import let_submits_end
from sora_pipeline.headless.obstacles import why_nothing_happens
from sora_pipeline.headless.run_processes import Executed
from sora_pipeline.ledger import AttemptState, Ledger, Production
from sora_pipeline.names import BATCH_TAG, MANIFEST_JOB, PRODUCTION_TAG
from sora_pipeline.production.progress import Progress, progress_of, why_left_open
from sora_pipeline.production.publishing import publish
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings
from sora_pipeline.time_limit import within

LOOK_S = 1.0
SOON_S = 0.2
"""How often to look while the first submit is awaited."""
OBSTACLE_S = 10.0
"""How often is asked why nothing happens."""
PUBLISH_PATIENCE_S = 60.0
LAST_PUBLISH_S = 30.0
"""How long a stop takes at most to publish what was delivered."""


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
        first_runs: What we execute ourselves; None where a daemon lives on the home, which does everything.
        timeout_s: Seconds after which to stop watching; None: never.
        show: Called with every new look at the production, and why nothing happens where that is known.
        ended: Called with every run of ours that has ended.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        home: Path,
        ledger: Ledger,
        settings: Settings,
        catalogue: Catalogue,
        first_runs: FirstRuns | None = None,
        *,
        timeout_s: float | None,
        show: Callable[[Progress | None, str | None], None],
        ended: Callable[[Executed], None] = lambda _: None,
    ) -> None:
        self._instance = instance
        self._home = home
        self._ledger = ledger
        self._settings = settings
        self._catalogue = catalogue
        self._first_runs = first_runs
        self._stop_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._show = show
        self._ended = ended
        self._obstacle_found: str | None = None
        self._obstacle_looked_at = time.monotonic()  # a daemon that was started just now is given time

    def produce(self, requested: Production) -> Ended:
        """Watch a requested production until nothing changes any more.

        Raises:
            DaemonError: the daemon that we started ended by itself.
            KeyboardInterrupt: a person stopped it; what was delivered until then is published.
        """
        assert requested.requested_at is not None
        ended: Ended | None = None
        alone, paused = False, None
        with DaemonKeeper(self._instance, self._home) as daemon:
            try:
                self._show(None, None)
                if self._first_runs is not None:
                    self._ended(self._first_runs.read(requested))
                ended = self._watch(requested, requested.requested_at, daemon)
            except KeyboardInterrupt:
                pass  # everything is ended in order; a second one is raised from there, and ends us at once
            finally:
                alone = daemon.own or self._first_runs is not None
                if alone:
                    with suppress(
                        DBAPIError
                    ):  # what runs here is ended, whether or not the ledger can be asked
                        paused = let_submits_end(self._ledger, self._settings, requested.pipeline)
                daemon.begin_to_stop()
                if self._first_runs is not None:
                    self._first_runs.close()
        if alone:
            self._give_back(requested.pipeline)
        if paused is not None:
            with suppress(DBAPIError):  # no run of ours is left that would begin a submit
                self._ledger.pauses.lift(self._settings.account_name, paused)
        if ended is None:
            self._publish_as_it_is(requested)
            raise KeyboardInterrupt
        return ended

    def _publish_as_it_is(self, requested: Production) -> None:
        """Show what was delivered, before a command ends that a person stopped; the next one does what cannot be done soon."""
        ledger, identity = self._ledger, requested.production_id
        production = ledger.productions.get(identity)
        if production.snapshot_path is None or production.published_seq >= production.change_seq:
            return
        give_up = time.monotonic() + LAST_PUBLISH_S
        with suppress(SoraPipelineError, DBAPIError, OSError):
            within(
                LAST_PUBLISH_S,
                lambda: publish(
                    ledger,
                    identity,
                    self._settings,
                    f"stopped-{uuid.uuid4()}",
                    finishes=False,
                    going_on=lambda: time.monotonic() < give_up,
                ),
            )

    def _watch(self, requested: Production, since: datetime, daemon: DaemonKeeper) -> Ended:
        settled_at: float | None = None
        while True:
            progress: Progress | None = None
            production = self._ledger.productions.get(requested.production_id)
            if production.manifest_uri != requested.manifest_uri:
                return Ended(
                    None,
                    problem=f"the production {production.production_id} is made from {production.manifest_uri} now: another command "
                    f"has given it that manifest in place of {requested.manifest_uri}",
                )
            requested_at = production.requested_at or since  # a clock that was set moves it
            if production.read_at is None or production.read_at < requested_at:
                if (problem := self._failed_to_read(requested, requested_at)) is not None:
                    return Ended(None, problem=problem)
                self._show(None, None)
            elif production.error is not None:
                return Ended(None, problem=production.error)
            else:
                progress = progress_of(self._ledger, production, self._settings, self._catalogue)
                self._show(progress, None if progress.settled else self._obstacle(production))
                settled_at = (settled_at or time.monotonic()) if progress.settled else None
                patience = settled_at is not None and time.monotonic() - settled_at > PUBLISH_PATIENCE_S
                if patience or (progress.settled and progress.published and self._is_shown(production)):
                    stopped = None if progress.stopped is None else explained(progress.stopped)
                    return Ended(progress, stopped=stopped)
            if self._stop_at is not None and time.monotonic() > self._stop_at:
                return self._timed_out(production)
            self._go_on(progress, daemon)

    def _obstacle(self, production: Production) -> str | None:
        """Why nothing happens although there is something to do, where others are to do it."""
        if self._first_runs is not None:
            return None
        if time.monotonic() - self._obstacle_looked_at > OBSTACLE_S:
            self._obstacle_looked_at = time.monotonic()
            why = why_nothing_happens(self._instance, self._home, self._ledger, production)
            self._obstacle_found = None if why is None else explained(why)
        return self._obstacle_found

    def _go_on(self, progress: Progress | None, daemon: DaemonKeeper) -> None:
        """Have done what comes next, and wait until it is worth while to look again."""
        first_runs = self._first_runs
        if first_runs is None:
            daemon.ensure()
            time.sleep(LOOK_S)
            return
        if progress is not None and progress.settled:
            if not progress.published and (executed := first_runs.publish(progress.production)) is not None:
                self._ended(executed)
                return
        elif progress is not None:
            first_runs.launch()
            if first_runs.come_first(progress):
                self._wait(first_runs, SOON_S)
                return
        daemon.ensure()
        first_runs.launch_the_rest()
        self._wait(first_runs, LOOK_S)

    def _wait(self, first_runs: FirstRuns, seconds: float) -> None:
        if (executed := first_runs.wait(seconds)) is not None:
            self._ended(executed)

    def _is_shown(self, production: Production) -> bool:
        """Whether Dagster shows all of it: failures are shown by runs, which would end with us."""
        attempts, pipeline = self._ledger.attempts, production.pipeline
        ended = [
            *attempts.ended_ids(pipeline).values(),
            *(a.clip_key for a in attempts.unshown_submits(pipeline)),
        ]
        mine = [key for key in ended if split_clip_key(key)[0] == production.production_id]
        return not mine and not self._publishing(production)

    def _publishing(self, production: Production) -> bool:
        return self._first_runs is not None and self._first_runs.publishing(production)

    def _give_back(self, pipeline: str) -> None:
        """Free what is reserved for runs that never began: the next command would wait until their leases are over."""
        ledger = self._ledger
        with suppress(DBAPIError):
            reserved = ledger.attempts.live(AttemptState.RESERVED, pipeline=pipeline)
            for batch in ledger.batches.unfinished(pipeline):
                runs = self._instance.get_runs(dg.RunsFilter(tags={BATCH_TAG: batch.batch_id}))
                if batch.run_id is not None or not all(run.is_finished for run in runs):
                    continue
                for attempt in reserved:
                    if attempt.batch_id == batch.batch_id:
                        ledger.attempts.release(attempt.attempt_id)
                ledger.batches.end(batch.batch_id)

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
