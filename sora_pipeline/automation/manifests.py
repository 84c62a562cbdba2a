"""What sets a production going: a person's request, a new or changed manifest file, or the schedule."""

import hashlib
from datetime import datetime, timedelta

import dagster as dg

from sora_pipeline.automation.instances import instance_of
from sora_pipeline.automation.jobs import Job
from sora_pipeline.automation.requests import under_way
from sora_pipeline.ledger import Production
from sora_pipeline.manifest.uris import split_sheet
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG, PipelineNames, op_of
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.schemes import open_uri
from sora_pipeline.settings import SettingsError
from sora_pipeline.uris import without_secrets

REQUESTS, FILE, SCHEDULE = "manifest_request_sensor", "manifest_file_sensor", "manifest_schedule"
ASK_AGAIN = timedelta(minutes=2)
DEFAULT_CRON = "0 6 * * *"


def build_manifest_request_sensor(runtime: PipelineRuntime, job: Job) -> dg.SensorDefinition:
    """The sensor of a pipeline that has manifests read for which people asked."""

    @dg.sensor(
        name=runtime.names.of(REQUESTS),
        job=job,
        minimum_interval_seconds=9,  # the daemon looks every 5 seconds, and would skip a look more at 10
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Takes up manifests that `sora-pipeline run` asked for.",
    )
    def manifest_request_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Request a run for every production that was asked for and not read since."""
        runtime.show_settings()
        ledger, job_name = runtime.ledger, runtime.names.manifest_job
        requests = [
            manifest_request(runtime.names, production, ledger.now())
            for production in ledger.productions.requested(runtime.names.name)
            if not under_way(
                instance_of(context), runtime, job_name, PRODUCTION_TAG, production.production_id
            )
        ]
        if not requests:
            return dg.SkipReason("nobody asked for a manifest")
        return dg.SensorResult(run_requests=requests)

    return manifest_request_sensor


def manifest_request(names: PipelineNames, production: Production, now: datetime) -> dg.RunRequest:
    """The run that reads the manifest which was asked for."""
    assert production.requested_at is not None
    again = int((now - production.requested_at) / ASK_AGAIN)
    config = {
        "production": production.production_id,
        # Dagster keeps and shows a run's config: the ledger has the whole address.
        "manifest": (production.requested_manifest or production.manifest_uri).shown,
        "output": production.output_uri,
    }
    return dg.RunRequest(
        job_name=names.manifest_job,
        run_key=f"read:{production.production_id}:{production.requested_at.isoformat()}:{again}",
        run_config={"ops": {op_of(names.prompt_manifest): {"config": config}}},
        tags={PRODUCTION_TAG: production.production_id, REQUESTED_BY_TAG: names.of(REQUESTS)},
    )


def build_manifest_file_sensor(runtime: PipelineRuntime, job: Job) -> dg.SensorDefinition:
    """The sensor of a pipeline that has its manifest read whenever the file changes."""

    @dg.sensor(
        name=runtime.names.of(FILE),
        job=job,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Reads {_shown(runtime)} when the file is new or has changed. "
        "Switch it on to have that produced by itself.",
    )
    def manifest_file_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Request a run when the content of the manifest file is not the one seen last."""
        uri = runtime.settings.manifest
        if uri is None:
            return dg.SkipReason("SORA_MANIFEST is not set")
        try:
            seen = _content_hash(split_sheet(uri.reveal())[0])
        except Exception as error:  # every fsspec driver raises errors of its own library
            return dg.SkipReason(f"{uri} cannot be read: {without_secrets(str(error))}")
        if seen == context.cursor:
            return dg.SkipReason(f"{uri} has not changed")
        # The cursor keeps a change from being requested twice; the time lets an old content come back.
        key = f"file:{seen}:{runtime.ledger.now().timestamp():.0f}"
        request = dg.RunRequest(run_key=key, tags={REQUESTED_BY_TAG: runtime.names.of(FILE)})
        return dg.SensorResult(run_requests=[request], cursor=seen)

    return manifest_file_sensor


def _shown(runtime: PipelineRuntime) -> str:
    """The pipeline's manifest, or the variable that would name it."""
    return runtime.settings.manifest if runtime.names.name and runtime.settings.manifest else "SORA_MANIFEST"


def _content_hash(uri: str) -> str:
    digest = hashlib.sha256()
    with open_uri(uri) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def build_manifest_schedule(runtime: PipelineRuntime, job: Job) -> dg.ScheduleDefinition:
    """The schedule that reads the pipeline's manifest: on where a cron is set, else ready to be switched on.

    Raises:
        SettingsError: there is no such schedule or time zone.
    """
    settings, name = runtime.settings, runtime.names.of(SCHEDULE)
    status = dg.DefaultScheduleStatus.RUNNING if settings.cron else dg.DefaultScheduleStatus.STOPPED
    try:
        return dg.ScheduleDefinition(
            name=name,
            job=job,
            cron_schedule=settings.cron or DEFAULT_CRON,
            execution_timezone=settings.cron_timezone,
            default_status=status,
            tags={REQUESTED_BY_TAG: name},
            description=f"Reads {_shown(runtime)} and produces what is new or changed in it.",
        )
    except dg.DagsterInvalidDefinitionError as error:
        raise SettingsError(
            f"SORA_CRON={settings.cron or ''} with SORA_CRON_TIMEZONE={settings.cron_timezone}: {error}"
        ) from None
