"""One job an asset: what sensors, schedules and people launch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sora_pipeline.names import PipelineNames

Job = Any
"""What ``dg.define_asset_job`` returns; Dagster has no public name for it."""


@dataclass(frozen=True, slots=True)
class PipelineJobs:
    """The jobs of one pipeline.

    Attributes:
        manifest: Reads the input manifest.
        generations: Submits clips.
        videos: Fetches videos.
        publish: Publishes the output manifest and evaluates the checks.
    """

    manifest: Job
    generations: Job
    videos: Job
    publish: Job

    def all(self) -> Sequence[Job]:
        """In the order of the work."""
        return [self.manifest, self.generations, self.videos, self.publish]


def build_jobs(
    names: PipelineNames,
    after_publishing: Sequence[dg.AssetChecksDefinition],
    executor: dg.ExecutorDefinition,
) -> PipelineJobs:
    """The jobs of a pipeline. They have an executor of their own, so that a project's other jobs keep theirs."""

    def job(name: str, selection: dg.AssetSelection, description: str) -> Job:
        return dg.define_asset_job(name, selection, description=description, executor_def=executor)

    # Without checks: they look at whole productions, and belong to the run that publishes one.
    manifest, generations, videos, video_manifest = (
        dg.AssetSelection.assets(key).without_checks()
        for key in (names.prompt_manifest, names.generations, names.videos, names.video_manifest)
    )
    return PipelineJobs(
        manifest=job(names.manifest_job, manifest, "Read the input manifest and register its clips."),
        generations=job(names.generations_job, generations, "Submit clips."),
        videos=job(names.videos_job, videos, "Download and check rendered clips."),
        publish=job(
            names.publish_job,
            video_manifest | dg.AssetSelection.checks(*after_publishing),
            "Publish the output manifest and the gallery, and look at the production's health.",
        ),
    )
