"""Names that appear in Dagster's storage: tags, partitions, jobs. Each is written once, here."""

CLIPS = "sora_clips"  # the dynamic partitions, one a clip
GROUP = "sora_pipeline"

BATCH_TAG = "sora/batch"
PRODUCTION_TAG = "sora/production"
REQUESTED_BY_TAG = "sora/requested_by"
CLIPS_TAG = "sora/clips"

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARENT_RUN_TAG = "dagster/parent_run_id"
RETRY_NUMBER_TAG = "dagster/retry_number"

SUBMITS_ALLOWED = "submits_allowed"

MANIFEST_JOB = "prompt_manifest_job"
GENERATIONS_JOB = "generations_job"
VIDEOS_JOB = "videos_job"
PUBLISH_JOB = "video_manifest_job"
