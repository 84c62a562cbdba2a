"""The publish sensor: requests a new output manifest when a production has changed and has calmed down."""

import json
from datetime import datetime, timedelta

import dagster as dg

from sora_pipeline.automation.jobs import publish_job
from sora_pipeline.ledger import Production
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG
from sora_pipeline.production.progress import progress_of
from sora_pipeline.resources import DeskResource

NAME = "publish_sensor"
WHILE_WORKING = timedelta(minutes=2)
"""How often a production that is still working is published."""
GIVEN_UP_AFTER = timedelta(minutes=2)
"""How long a requested run may take before it is requested again."""


@dg.sensor(
    name=NAME,
    job=publish_job,
    minimum_interval_seconds=1,  # the daemon looks every 5 seconds, and would skip every other look at 5
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Publishes the output manifest when something changed.",
)
def publish_sensor(
    context: dg.SensorEvaluationContext, desk: DeskResource
) -> dg.SensorResult | dg.SkipReason:
    """Request one run for each production that is out of date and calm."""
    settings, ledger = desk.settings.read(), desk.ledger.open()
    now, catalogue = ledger.now(), desk.catalogue()
    asked = _Asked(context.cursor)
    requests = []
    for production in ledger.productions.unpublished():
        settled = progress_of(ledger, production, settings, catalogue).settled
        if is_due(production, settled=settled, now=now) and asked.may_ask(production, now):
            requests.append(_request(production, now))
    if not requests:
        return dg.SkipReason("every output manifest is up to date, or will be when its clips have settled")
    return dg.SensorResult(run_requests=requests, cursor=asked.cursor())


def is_due(production: Production, *, settled: bool, now: datetime) -> bool:
    """Whether it is time to publish.

    A settled production is published at once; one that works on only now and then, since a run costs seconds.
    """
    if settled:
        return True
    last = production.published_at or production.read_at
    return last is None or now - last >= WHILE_WORKING


def _request(production: Production, now: datetime) -> dg.RunRequest:
    identity = production.production_id
    return dg.RunRequest(
        run_key=f"publish:{identity}:{production.change_seq}:{now.timestamp():.0f}",
        run_config={"ops": {"video_manifest": {"config": {"production": identity}}}},
        tags={PRODUCTION_TAG: identity, REQUESTED_BY_TAG: NAME},
    )


class _Asked:
    """Which states were asked to be published, and when: the sensor's cursor."""

    def __init__(self, cursor: str | None) -> None:
        self._asked: dict[str, tuple[int, str]] = json.loads(cursor) if cursor else {}

    def may_ask(self, production: Production, now: datetime) -> bool:
        """Whether no request is under way; notes that one is now."""
        seq, at = self._asked.get(production.production_id, (-1, ""))
        under_way = seq > production.published_seq and now - datetime.fromisoformat(at) < GIVEN_UP_AFTER
        if under_way:
            return False
        self._asked[production.production_id] = production.change_seq, now.isoformat()
        return True

    def cursor(self) -> str:
        """For Dagster to keep."""
        return json.dumps(self._asked)
