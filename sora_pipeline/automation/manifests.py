"""What sets a production going: a person's request, a new or changed manifest file, or the schedule."""

import hashlib
from datetime import datetime, timedelta

import dagster as dg

from sora_pipeline.automation.jobs import manifest_job
from sora_pipeline.automation.requests import under_way
from sora_pipeline.ledger import Production
from sora_pipeline.names import MANIFEST_JOB, PRODUCTION_TAG, REQUESTED_BY_TAG
from sora_pipeline.resources import DeskResource
from sora_pipeline.settings import Settings, SettingsProblem

REQUESTS, FILE = "manifest_request_sensor", "manifest_file_sensor"
ASK_AGAIN = timedelta(minutes=2)
DEFAULT_CRON = "0 6 * * *"


@dg.sensor(
    name=REQUESTS,
    job=manifest_job,
    minimum_interval_seconds=1,  # the daemon looks every 5 seconds, and would skip every other look at 5
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Takes up manifests that `sora-pipeline run` asked for.",
)
def manifest_request_sensor(
    context: dg.SensorEvaluationContext, desk: DeskResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run for every production that was asked for and not read since."""
    ledger = desk.ledger.open()
    requests = [
        _request(production, ledger.now())
        for production in ledger.productions.requested()
        if not under_way(context.instance, MANIFEST_JOB, PRODUCTION_TAG, production.production_id)
    ]
    return (
        dg.SensorResult(run_requests=requests) if requests else dg.SkipReason("nobody asked for a manifest")
    )


def _request(production: Production, now: datetime) -> dg.RunRequest:
    assert production.requested_at is not None
    again = int((now - production.requested_at) / ASK_AGAIN)
    config = {"manifest": production.manifest_uri, "output": production.output_uri}
    if production.budget_usd is not None:
        config["budget_usd"] = str(production.budget_usd)
    return dg.RunRequest(
        run_key=f"read:{production.production_id}:{production.requested_at.isoformat()}:{again}",
        run_config={"ops": {"prompt_manifest": {"config": config}}},
        tags={PRODUCTION_TAG: production.production_id, REQUESTED_BY_TAG: REQUESTS},
    )


@dg.sensor(
    name=FILE,
    job=manifest_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Reads SORA_MANIFEST when the file is new or has changed. Switch it on to have that produced by itself.",
)
def manifest_file_sensor(
    context: dg.SensorEvaluationContext, desk: DeskResource
) -> dg.SensorResult | dg.SkipReason:
    """Request a run when the content of the manifest file is not the one seen last."""
    uri = desk.settings.read().manifest
    if uri is None:
        return dg.SkipReason("SORA_MANIFEST is not set")
    try:
        seen = _content_hash(uri)
    except OSError as error:
        return dg.SkipReason(f"{uri} cannot be read: {error}")
    if seen == context.cursor:
        return dg.SkipReason(f"{uri} has not changed")
    # The cursor keeps a change from being requested twice; the time lets an old content come back.
    key = f"file:{seen}:{desk.ledger.open().now().timestamp():.0f}"
    request = dg.RunRequest(run_key=key, tags={REQUESTED_BY_TAG: FILE})
    return dg.SensorResult(run_requests=[request], cursor=seen)


def _content_hash(uri: str) -> str:
    import fsspec

    digest = hashlib.sha256()
    with fsspec.open(uri, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def manifest_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """The schedule that reads ``SORA_MANIFEST``: on where ``SORA_CRON`` is set, else ready to be switched on.

    Raises:
        SettingsProblem: there is no such schedule or time zone.
    """
    status = dg.DefaultScheduleStatus.RUNNING if settings.cron else dg.DefaultScheduleStatus.STOPPED
    try:
        return dg.ScheduleDefinition(
            name="manifest_schedule",
            job=manifest_job,
            cron_schedule=settings.cron or DEFAULT_CRON,
            execution_timezone=settings.cron_timezone,
            default_status=status,
            tags={REQUESTED_BY_TAG: "manifest_schedule"},
            description="Reads SORA_MANIFEST and produces what is new or changed in it.",
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise SettingsProblem(
            f"SORA_CRON={settings.cron or ''} with SORA_CRON_TIMEZONE={settings.cron_timezone}: {error}"
        ) from None
