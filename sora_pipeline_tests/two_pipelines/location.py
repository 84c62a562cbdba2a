"""A user's code location: two pipelines that share nothing but the ledger, beside assets and jobs of the project's own.

The addresses of the two providers, the folder of everything and one of the crons come from the environment, as a test sets
them.
"""

import os
from pathlib import Path
from typing import Any

import dagster as dg

from sora_pipeline import VideoPipeline

FOLDER = Path(os.environ["TWO_PIPELINES_FOLDER"])

acme = VideoPipeline(
    "acme",
    key_prefix=["brands", "acme"],
    group_name="acme_video",
    owners=["team:acme"],
    tags={"brand": "acme"},
    manifest=FOLDER / "acme.csv",
    output=FOLDER / "acme",
    cron=os.environ.get("TWO_PIPELINES_CRON", "0 6 * * *"),
    cron_timezone="Europe/Berlin",
    provider="sandbox",
    account="acme",
    base_url=os.environ["TWO_PIPELINES_ACME_URL"],
    api_key=dg.EnvVar("TWO_PIPELINES_ACME_KEY"),
    budget_usd=10,
    poll_interval_s=1,
)
zeta = VideoPipeline(
    "zeta",
    manifest=FOLDER / "zeta.csv",
    output=FOLDER / "zeta",
    cron="30 7 * * 1-5",
    provider="openai-videos",
    account="zeta",
    base_url=os.environ["TWO_PIPELINES_ZETA_URL"],
    api_key=dg.EnvVar("TWO_PIPELINES_ZETA_KEY"),
    budget_usd=5,
    poll_interval_s=1,
)


class TextFiles(dg.ConfigurableIOManager):
    """The project's own IO manager."""

    folder: str

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Write the value as text, for each clip."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        for part in context.asset_partition_keys if context.has_asset_partitions else [""]:
            name = "-".join([*context.asset_key.path, part]).rstrip("-")
            (Path(self.folder) / name).write_text(str(obj))

    def load_input(self, context: dg.InputContext) -> Any:
        """Not needed."""
        raise NotImplementedError


@dg.asset(
    deps=[acme.videos],
    partitions_def=acme.clips,
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=dg.AutomationCondition.eager(),
)
def upload(context: dg.AssetExecutionContext) -> str:
    """Follows the videos of one pipeline, clip by clip."""
    return f"uploaded {', '.join(context.partition_keys)}"


@dg.asset(
    deps=[acme.video_manifest, zeta.video_manifest], automation_condition=dg.AutomationCondition.eager()
)
def report() -> str:
    """Follows both output manifests."""
    return "two brands"


@dg.asset
def videos() -> str:
    """An asset that the project had before, under a name that ours have, too."""
    return "holidays"


holidays_job = dg.define_asset_job("holidays_job", [videos])


@dg.sensor(job=holidays_job, minimum_interval_seconds=4, default_status=dg.DefaultSensorStatus.RUNNING)
def holidays_sensor() -> dg.RunRequest:
    """Asks for the project's own videos once.

    By a job, which says in which code location it is: of two code locations that hold the same asset key, Dagster heeds the
    automation conditions of one only, and the built-in pipeline has an asset called ``videos``, too.
    """
    return dg.RunRequest(run_key="once")


automation = dg.AutomationConditionSensorDefinition(
    "project_automation",
    target=dg.AssetSelection.assets(upload, report),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=4,
    # A run for each clip: the daemon looks at backfills, which would be one run, every 30 seconds only.
    emit_backfills=False,
)
defs = dg.Definitions.merge(
    VideoPipeline.merge(acme, zeta),
    dg.Definitions(
        assets=[upload, report, videos],
        jobs=[holidays_job, dg.define_asset_job("upload_job", [upload])],
        sensors=[automation, holidays_sensor],
        resources={"io_manager": TextFiles(folder=str(FOLDER / "texts"))},
        executor=dg.multiprocess_executor.configured({"max_concurrent": 1}),
    ),
)
