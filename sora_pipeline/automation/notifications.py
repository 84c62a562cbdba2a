"""The sensors that tell people: of productions that have settled, and of runs that failed. Only where a webhook is set."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import dagster as dg

from sora_pipeline.advice import explained
from sora_pipeline.automation.jobs import Job
from sora_pipeline.ledger import Production
from sora_pipeline.names import CLIPS_TAG, PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from sora_pipeline.notifications.messages import Message, failed_run_message
from sora_pipeline.notifications.webhook import NEWS, NotificationError, notify_if_settled, send
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.settings import Settings
from sora_pipeline.store import StoreError

FINISHED, FAILED = "finished_notification_sensor", "failure_notification_sensor"
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
SHORT_S = 3.0
"""How long a tick may wait to send something once more."""


def build_finished_notification_sensor(runtime: PipelineRuntime) -> dg.SensorDefinition:
    """The sensor of a pipeline that tells of productions that have settled."""

    @dg.sensor(
        name=runtime.names.of(FINISHED),
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook SORA_NOTIFY_URL of productions that finished or were stopped early.",
    )
    def finished_notification_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Tell of every production that has settled since people were told of it."""
        pauses = _Pauses(context.cursor)
        sentences = _notify(runtime, pauses)
        reason = "; ".join(sentences) or "no production has settled since the last one was told"
        return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=pauses.cursor())

    return finished_notification_sensor


def _notify(runtime: PipelineRuntime, pauses: "_Pauses") -> list[str]:
    """Tell of what has settled; one sentence for each production that was told of or has to wait."""
    settings, ledger, catalogue = runtime.settings, runtime.ledger, runtime.catalogue
    now = ledger.now()
    unnotified = ledger.notifications.unnotified(now - NEWS, runtime.names.name)
    pauses.forget_all_but(unnotified)
    sentences: list[str] = []
    for production in unnotified:
        if pauses.pausing(production, now):
            sentences.append(pauses.sentence(production))
            continue
        try:
            if notify_if_settled(ledger, production, settings, catalogue, runtime.names.video_manifest.path):
                sentences.append(f"told of {production.manifest_uri}")
        except NotificationError as problem:
            pauses.begin(production, now, problem)
            sentences.append(pauses.sentence(production))
            break  # a webhook that is down would use up the whole tick
        except (StoreError, FileNotFoundError) as problem:
            pauses.begin(
                production, now, NotificationError(f"its output cannot be read: {explained(problem)}")
            )
            sentences.append(pauses.sentence(production))
    return sentences


class _Pauses:
    """How often telling of a production failed, why, and when it is tried again: the sensor's cursor."""

    def __init__(self, cursor: str | None) -> None:
        self._failed: dict[str, tuple[int, str, str]] = json.loads(cursor) if cursor else {}

    def pausing(self, production: Production, now: datetime) -> bool:
        """Whether it is too early to try again."""
        _, until, _ = self._failed.get(production.production_id, (0, "", ""))
        return bool(until) and now < datetime.fromisoformat(until)

    def begin(self, production: Production, now: datetime, problem: NotificationError) -> None:
        """Wait twice as long as the time before, and at least as long as the webhook asks for."""
        times = self._failed.get(production.production_id, (0, "", ""))[0] + 1
        pause = min(FIRST_PAUSE * 2 ** min(times - 1, 16), LONGEST_PAUSE)
        retry_after = timedelta(seconds=min(problem.retry_after_s or 0.0, NEWS.total_seconds()))
        until = now + max(pause, retry_after)
        self._failed[production.production_id] = times, until.isoformat(), explained(problem).rstrip(".")

    def sentence(self, production: Production) -> str:
        """For the tick."""
        times, until, problem = self._failed[production.production_id]
        again = datetime.fromisoformat(until)
        return f"{production.manifest_uri}: {problem} (try {times}); tried again after {again:%H:%M:%S} UTC"

    def forget_all_but(self, unnotified: Sequence[Production]) -> None:
        """What was told meanwhile, by whomever, needs no pause."""
        ids = {production.production_id for production in unnotified}
        self._failed = {identity: failure for identity, failure in self._failed.items() if identity in ids}

    def cursor(self) -> str:
        """For Dagster to keep."""
        return json.dumps(self._failed)


def build_failure_notification_sensor(runtime: PipelineRuntime, jobs: Sequence[Job]) -> dg.SensorDefinition:
    """The sensor of a pipeline that tells of its runs that failed, and of nobody else's."""

    @dg.run_failure_sensor(
        name=runtime.names.of(FAILED),
        monitored_jobs=list(jobs),
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook SORA_NOTIFY_URL of runs that failed.",
    )
    def failure_notification_sensor(context: dg.RunFailureSensorContext) -> None:
        """Tell of one failed run. Dagster never shows a run twice, so what cannot be sent soon is lost, and the tick red."""
        settings, run = runtime.settings, context.dagster_run
        reason = why_failed(context.get_step_failure_events(), context.failure_event.message or "")
        message = failed_run_message(run.job_name, run.run_id, clips_of(run.tags), reason, settings.ui_url)
        try:
            send_soon(message, settings)
        except NotificationError as problem:
            raise NotificationError(explained(problem)) from None

    return failure_notification_sensor


def send_soon(message: Message, settings: Settings) -> None:
    """Send, and once more where that fails for a moment."""
    try:
        send(message, settings)
    except NotificationError as problem:
        if (problem.retry_after_s or 0.0) > SHORT_S:
            raise
        time.sleep(problem.retry_after_s or SHORT_S / 3)
        send(message, settings)


def clips_of(tags: Mapping[str, str]) -> str | None:
    """The clips that a run was over, in the words of its tags."""
    if CLIPS_TAG in tags:
        return tags[CLIPS_TAG]
    if RANGE_START_TAG in tags:
        return f"{tags[RANGE_START_TAG]} … {tags[RANGE_END_TAG]}"
    return tags.get(PARTITION_TAG)


def why_failed(failed_steps: Iterable[dg.DagsterEvent], otherwise: str) -> str:
    """Why a run failed: a step's own words, or else what Dagster says of the run."""
    for event in failed_steps:
        failure = event.step_failure_data
        if failure.user_failure_data is not None and failure.user_failure_data.description:
            return str(failure.user_failure_data.description)
        error = failure.error
        while error is not None and error.cause is not None:
            error = error.cause
        if error is not None:
            return str(error.message)
    return otherwise
