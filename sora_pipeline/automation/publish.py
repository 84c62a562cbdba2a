"""The publish sensor: requests a new output manifest when a production has changed and has calmed down."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from sora_pipeline.automation.instances import instance_of
from sora_pipeline.automation.jobs import Job
from sora_pipeline.automation.requests import under_way
from sora_pipeline.ledger import Production
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG, PipelineNames, op_of
from sora_pipeline.production.progress import progress_of
from sora_pipeline.runtime import PipelineRuntime

NAME = "publish_sensor"
WHILE_WORKING = timedelta(minutes=2)
"""How often a production that is still working is published."""
GIVEN_UP_AFTER = timedelta(minutes=2)
"""How long a requested run may take before it is requested again."""


def build_publish_sensor(runtime: PipelineRuntime, job: Job) -> dg.SensorDefinition:
    """The sensor of a pipeline that has its output manifests published."""

    @dg.sensor(
        name=runtime.names.of(NAME),
        job=job,
        minimum_interval_seconds=9,  # the daemon looks every 5 seconds, and would skip a look more at 10
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Publishes the output manifest when something changed.",
    )
    def publish_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Request one run for each production that is out of date and calm."""
        requested = _PublishRequests(context.cursor)
        requests = list(_requests(instance_of(context), runtime, requested))
        if not requests:
            return dg.SkipReason(
                "every output manifest is up to date, or will be when its clips have settled"
            )
        return dg.SensorResult(run_requests=requests, cursor=requested.cursor())

    return publish_sensor


def _requests(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, requested: "_PublishRequests"
) -> Iterator[dg.RunRequest]:
    settings, ledger, catalogue = runtime.settings, runtime.ledger, runtime.catalogue
    now = ledger.now()
    for production in ledger.productions.unpublished(runtime.names.name):
        settled = progress_of(ledger, production, settings, catalogue).settled
        if not is_due(production, settled=settled, now=now):
            continue
        if under_way(instance, runtime, runtime.names.publish_job, PRODUCTION_TAG, production.production_id):
            continue  # where it has read too early, the next tick finds the production unpublished still
        if requested.may_ask(production, now):
            yield publish_request(runtime.names, production, now)


def is_due(production: Production, *, settled: bool, now: datetime) -> bool:
    """Whether it is time to publish.

    A settled production is published at once; one that works on only now and then, since a run costs seconds.
    """
    if settled:
        return True
    last = production.published_at or production.read_at
    # A moment that is still to come was noted by a clock that ran ahead.
    return last is None or not timedelta(0) <= now - last < WHILE_WORKING


def publish_request(names: PipelineNames, production: Production, now: datetime) -> dg.RunRequest:
    """The run that publishes a production as it is."""
    identity = production.production_id
    return dg.RunRequest(
        job_name=names.publish_job,
        run_key=f"publish:{identity}:{production.change_seq}:{now.timestamp():.0f}",
        run_config={"ops": {op_of(names.video_manifest): {"config": {"production": identity}}}},
        tags={PRODUCTION_TAG: identity, REQUESTED_BY_TAG: names.of(NAME)},
    )


class _PublishRequests:
    """Which states were asked to be published, and when: the sensor's cursor."""

    def __init__(self, cursor: str | None) -> None:
        self._requests: dict[str, tuple[int, str]] = json.loads(cursor) if cursor else {}

    def may_ask(self, production: Production, now: datetime) -> bool:
        """Whether no request is under way; notes that one is now."""
        seq, at = self._requests.get(production.production_id, (-1, ""))
        if seq > production.published_seq and (
            timedelta(0) <= now - datetime.fromisoformat(at) < GIVEN_UP_AFTER
        ):
            return False
        self._requests[production.production_id] = production.change_seq, now.isoformat()
        return True

    def cursor(self) -> str:
        """For Dagster to keep."""
        return json.dumps(self._requests)
