"""One job an asset: what sensors, schedules and people launch."""

import dagster as dg

from sora_pipeline.assets.generations import generations
from sora_pipeline.assets.prompt_manifest import prompt_manifest
from sora_pipeline.assets.video_manifest import video_manifest
from sora_pipeline.assets.videos import videos
from sora_pipeline.checks import production_health
from sora_pipeline.names import GENERATIONS_JOB, MANIFEST_JOB, PUBLISH_JOB, VIDEOS_JOB

manifest_job = dg.define_asset_job(
    MANIFEST_JOB, [prompt_manifest], description="Read the input manifest and register its clips."
)
# Without checks: they look at whole productions, and belong to the run that publishes one.
generations_job = dg.define_asset_job(
    GENERATIONS_JOB, dg.AssetSelection.assets(generations).without_checks(), description="Submit clips."
)
videos_job = dg.define_asset_job(
    VIDEOS_JOB,
    dg.AssetSelection.assets(videos).without_checks(),
    description="Download and check rendered clips.",
)
publish_job = dg.define_asset_job(
    PUBLISH_JOB,
    dg.AssetSelection.assets(video_manifest) | dg.AssetSelection.checks(production_health),
    description="Publish the output manifest and the gallery, and look at the production's health.",
)
