"""Names that appear in Dagster's storage: assets, tags, partitions, jobs. Each is written once, here."""

import re
from collections.abc import Sequence
from functools import cached_property

import dagster as dg

from sora_pipeline.errors import SoraPipelineError

CLIPS = "sora_clips"  # the dynamic partitions of the built-in pipeline, one a clip
RUN_LOCK = "sora_run_lock"
GROUP = "sora_pipeline"

BATCH_TAG = "sora/batch"
PRODUCTION_TAG = "sora/production"
REQUESTED_BY_TAG = "sora/requested_by"
CLIPS_TAG = "sora/clips"

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"
RUN_KEY_TAG = "dagster/run_key"
PARENT_RUN_TAG = "dagster/parent_run_id"
ROOT_RUN_TAG = "dagster/root_run_id"
RETRY_NUMBER_TAG = "dagster/retry_number"

SUBMITS_ALLOWED = "submits_allowed"
FINISHED_CHECK = "finished"

# Of the built-in pipeline; those of a named one begin with its name.
MANIFEST_JOB = "prompt_manifest_job"
GENERATIONS_JOB = "generations_job"
VIDEOS_JOB = "videos_job"
PUBLISH_JOB = "video_manifest_job"
CONTROL_JOBS = (
    "set_budget_job",
    "retry_job",
    "change_prompt_job",
    "pause_job",
    "resume_job",
    "cancel_job",
)

_NAME, _KEY_PART = re.compile(r"[A-Za-z][A-Za-z0-9_]*"), re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class PipelineError(SoraPipelineError):
    """Raised where a pipeline cannot be built from what it is given; the text is one sentence."""


class PipelineNames:
    """What the parts of one pipeline are called in Dagster.

    Args:
        name: Of the pipeline; empty: the built-in one, whose parts have no prefix.
        key_prefix: Of the asset keys; None: the name.

    Raises:
        PipelineError: Dagster could not use them.
    """

    def __init__(self, name: str = "", key_prefix: str | Sequence[str] | None = None) -> None:
        if name != "" and not _fits(_NAME, name):
            raise PipelineError(
                f"name={name!r}: a pipeline's name begins with a letter and holds letters, digits and underscores only"
            )
        if key_prefix is None:
            key_prefix = [name] if name else []
        self.name = name
        self.key_prefix = tuple([key_prefix] if isinstance(key_prefix, str) else key_prefix)
        for part in self.key_prefix:
            if not _fits(_KEY_PART, part):
                raise PipelineError(
                    f"key_prefix={key_prefix!r}: each part begins with a letter and holds letters, digits, underscores and dashes only"
                )

    def of(self, part: str) -> str:
        """The name of a job, sensor or schedule of this pipeline."""
        return f"{self.name}_{part}" if self.name else part

    @cached_property
    def clips(self) -> str:
        """The set of dynamic partitions, one a clip."""
        return f"{self.name}_clips" if self.name else CLIPS

    @cached_property
    def run_lock(self) -> str:
        """The resource that every run over these assets holds."""
        return f"{self.name}_run_lock" if self.name else RUN_LOCK

    @cached_property
    def run_lock_folder(self) -> str:
        """Where, below the Dagster home, the runs of this pipeline show that they live."""
        return self.of("run_lock")

    @cached_property
    def prompt_manifest(self) -> dg.AssetKey:
        """The input manifest."""
        return self._key("prompt_manifest")

    @cached_property
    def generations(self) -> dg.AssetKey:
        """A prediction for every clip."""
        return self._key("generations")

    @cached_property
    def videos(self) -> dg.AssetKey:
        """A checked video for every clip."""
        return self._key("videos")

    @cached_property
    def video_manifest(self) -> dg.AssetKey:
        """The output manifest."""
        return self._key("video_manifest")

    @cached_property
    def manifest_job(self) -> str:
        """Reads the input manifest."""
        return self.of(MANIFEST_JOB)

    @cached_property
    def generations_job(self) -> str:
        """Submits clips."""
        return self.of(GENERATIONS_JOB)

    @cached_property
    def videos_job(self) -> str:
        """Fetches videos."""
        return self.of(VIDEOS_JOB)

    @cached_property
    def publish_job(self) -> str:
        """Publishes the output manifest."""
        return self.of(PUBLISH_JOB)

    @cached_property
    def control_jobs(self) -> tuple[str, ...]:
        """Jobs that people launch, and no sensor does."""
        return tuple(self.of(name) for name in CONTROL_JOBS)

    @cached_property
    def jobs(self) -> frozenset[str]:
        """Every job of this pipeline."""
        of_assets = (self.manifest_job, self.generations_job, self.videos_job, self.publish_job)
        return frozenset((*of_assets, *self.control_jobs))

    def _key(self, asset: str) -> dg.AssetKey:
        return dg.AssetKey([*self.key_prefix, asset])


def op_of(key: dg.AssetKey) -> str:
    """What Dagster calls an asset in a run's config."""
    return key.to_python_identifier()


def _fits(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None
