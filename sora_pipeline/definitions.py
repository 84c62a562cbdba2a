"""The code location: the one place where assets, sensors, the schedule, jobs and resources are put together."""

import dagster as dg

from sora_pipeline.assets.generations import generations
from sora_pipeline.assets.prompt_manifest import prompt_manifest
from sora_pipeline.assets.video_manifest import video_manifest
from sora_pipeline.assets.videos import videos
from sora_pipeline.automation.dispatch import dispatch_sensor
from sora_pipeline.automation.jobs import generations_job, manifest_job, publish_job, videos_job
from sora_pipeline.automation.manifests import (
    manifest_file_sensor,
    manifest_request_sensor,
    manifest_schedule,
)
from sora_pipeline.automation.poll import poll_sensor
from sora_pipeline.automation.publish import publish_sensor
from sora_pipeline.checks import health_checks
from sora_pipeline.resources import DeskResource, LedgerResource, ProviderResource, SettingsResource
from sora_pipeline.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """The definitions for these settings."""
    shown = SettingsResource.of(settings)
    ledger = LedgerResource(settings=shown)
    provider = ProviderResource(settings=shown)
    return dg.Definitions(
        assets=[prompt_manifest, generations, videos, video_manifest],
        asset_checks=health_checks,
        jobs=[manifest_job, generations_job, videos_job, publish_job],
        sensors=[dispatch_sensor, poll_sensor, publish_sensor, manifest_request_sensor, manifest_file_sensor],
        schedules=[manifest_schedule(settings)],
        resources={"desk": DeskResource(settings=shown, ledger=ledger, provider=provider)},
        # One process a run: the work inside is asyncio, and a process for each step would double the start-up.
        executor=dg.in_process_executor,
    )


defs = build_definitions(Settings.from_env())
