"""One job an asset: what sensors, schedules and people launch."""

import dagster as dg

from sora_pipeline.assets.generations import generations
from sora_pipeline.assets.prompt_manifest import prompt_manifest
from sora_pipeline.assets.video_manifest import video_manifest
from sora_pipeline.assets.videos import videos
from sora_pipeline.names import GENERATIONS_JOB, MANIFEST_JOB, PUBLISH_JOB, VIDEOS_JOB

manifest_job = dg.define_asset_job(
    MANIFEST_JOB, [prompt_manifest], description="Read the input manifest and register its clips."
)
generations_job = dg.define_asset_job(GENERATIONS_JOB, [generations], description="Submit clips.")
videos_job = dg.define_asset_job(VIDEOS_JOB, [videos], description="Download and check rendered clips.")
publish_job = dg.define_asset_job(
    PUBLISH_JOB, [video_manifest], description="Publish the output manifest and the gallery."
)
