"""The publish sensor: has a production published once it has finished or is stopped, and while it goes on where no run does it.

It also shows in the check ``finished`` how far productions are that go on, which takes no run.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from sora_pipeline.automation.instances import instance_of
from sora_pipeline.automation.jobs import Job
from sora_pipeline.automation.requests import under_way
from sora_pipeline.finished_check import finished_evaluation
from sora_pipeline.ledger import Production
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG, PipelineNames, op_of
from sora_pipeline.production.progress import Progress, progress_of
from sora_pipeline.production.publishing_meanwhile import EVERY, is_due
from sora_pipeline.runtime import PipelineRuntime

NAME = "publish_sensor"
GIVEN_UP_AFTER = timedelta(minutes=2)
"""How long a requested run may take before it is requested again."""


def build_publish_sensor(runtime: PipelineRuntime, job: Job) -> dg.SensorDefinition:
    """The sensor of a pipeline that has its output manifests published."""

    @dg.sensor(
        name=runtime.names.of(NAME),
        job=job,
        minimum_interval_seconds=9,  # the daemon looks every 5 seconds, and would skip a look more at 10
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes the output manifest when a production has finished, or was stopped.",
    )
    def publish_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Request one run for each production that is out of date and is published by nobody else."""
        kept = _Kept(context.cursor)
        requests = list(_requests(instance_of(context), runtime, kept))
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None
            if requests
            else dg.SkipReason("every output manifest is up to date, or will be soon"),
            asset_events=list(_going_on(runtime, kept)),
            cursor=kept.cursor(),
        )

    return publish_sensor


def _requests(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, kept: "_Kept"
) -> Iterator[dg.RunRequest]:
    now = runtime.ledger.now()
    for production in runtime.ledger.productions.unpublished(runtime.names.name):
        progress = progress_of(runtime.ledger, production, runtime.settings, runtime.catalogue)
        if not _is_ours_to_publish(runtime, progress, now):
            continue
        if under_way(instance, runtime, runtime.names.publish_job, PRODUCTION_TAG, production.production_id):
            continue  # where it has read too early, the next tick finds the production unpublished still
        if kept.may_ask(production, now):
            yield publish_request(runtime.names, production, now)


def _is_ours_to_publish(runtime: PipelineRuntime, progress: Progress, now: datetime) -> bool:
    """Whether a run is to publish a production: at once where nothing changes any more, else where no run does it beside its work."""
    production = progress.production
    if progress.settled:
        return True
    at_work = any(
        batch.run_id is not None and batch.is_held(now)
        for batch in runtime.ledger.batches.unfinished(runtime.names.name)
    )
    return is_due(production, progress.clips, now, late=EVERY if at_work else timedelta(0))


def _going_on(runtime: PipelineRuntime, kept: "_Kept") -> Iterator[dg.AssetCheckEvaluation]:
    """How far those productions are that do not have finished and were published since this was shown."""
    ledger = runtime.ledger
    for production in ledger.productions.all(runtime.names.name):
        if not production.published_at or not kept.is_news(production):
            continue
        progress = progress_of(ledger, production, runtime.settings, runtime.catalogue)
        if not progress.finished:  # the run that publishes it then shows that
            yield finished_evaluation(runtime.names, progress)


def publish_request(names: PipelineNames, production: Production, now: datetime) -> dg.RunRequest:
    """The run that publishes a production as it is."""
    identity = production.production_id
    return dg.RunRequest(
        job_name=names.publish_job,
        run_key=f"publish:{identity}:{production.change_seq}:{now.timestamp():.0f}",
        run_config={"ops": {op_of(names.video_manifest): {"config": {"production": identity}}}},
        tags={PRODUCTION_TAG: identity, REQUESTED_BY_TAG: names.of(NAME)},
    )


class _Kept:
    """Which states were asked to be published and when, and which were shown: the sensor's cursor."""

    def __init__(self, cursor: str | None) -> None:
        kept: dict[str, Any] = json.loads(cursor) if cursor else {}
        if not kept.keys() <= {"asked", "shown"}:  # an earlier version's: the requests alone
            kept = {"asked": kept}
        self._asked: dict[str, tuple[int, str]] = kept.get("asked", {})
        self._shown: dict[str, int] = kept.get("shown", {})

    def may_ask(self, production: Production, now: datetime) -> bool:
        """Whether no request is under way; notes that one is now."""
        seq, at = self._asked.get(production.production_id, (-1, ""))
        if seq > production.published_seq and (
            timedelta(0) <= now - datetime.fromisoformat(at) < GIVEN_UP_AFTER
        ):
            return False
        self._asked[production.production_id] = production.change_seq, now.isoformat()
        return True

    def is_news(self, production: Production) -> bool:
        """Whether it was published since it was last shown; notes that it is shown now."""
        before = self._shown.get(production.production_id)
        self._shown[production.production_id] = production.published_seq
        return before != production.published_seq

    def cursor(self) -> str:
        """For Dagster to keep."""
        return json.dumps({"asked": self._asked, "shown": self._shown})
