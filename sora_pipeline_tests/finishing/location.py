"""A user's code location: a pipeline, and an asset of the user's own that follows its output manifests.

The address of the provider, the key and the folder of everything come from the environment, as a test sets them. Waits that are
most of a minute are seconds here.
"""

import json
import os
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg

from sora_pipeline import VideoPipeline
from sora_pipeline.production import publishing_meanwhile

publishing_meanwhile.EVERY = timedelta(seconds=3)
publishing_meanwhile.LOOK_S = 0.5
FOLDER = Path(os.environ["FINISHING_FOLDER"])
AT_WORK_S = 10.0
"""Ticks of the automation sensor pass meanwhile."""
pipeline = VideoPipeline(
    "brand",
    output=FOLDER,
    provider="sandbox",
    account="brand",
    base_url=os.environ["FINISHING_URL"],
    api_key=dg.EnvVar("FINISHING_KEY"),
    poll_interval_s=1,
    max_in_flight=2,
)


# As docs/productions.md has it.
each_end = dg.AutomationCondition.eager().replace("handled", dg.AutomationCondition.newly_requested())


@dg.asset(deps=[pipeline.video_manifest], automation_condition=each_end)
def newsletter(context: dg.AssetExecutionContext) -> None:
    """Notes what it found when it was run; of monday's production, it is at work until tuesday's has ended too."""
    event = context.instance.get_latest_materialization_event(pipeline.video_manifest.key)
    assert event is not None
    assert event.asset_materialization is not None
    production = str(event.asset_materialization.metadata["production"].value)
    rows = pipeline.production(production).to_pandas()
    found = {"production": production, "statuses": sorted(rows["status"])}
    (FOLDER / f"at-work-on-{production}").touch()
    while production == "monday" and not (FOLDER / "tuesday" / "finished.json").exists():
        time.sleep(0.2)
    time.sleep(AT_WORK_S)
    with (FOLDER / "newsletters.jsonl").open("a") as file:
        file.write(json.dumps(found) + "\n")


defs = dg.Definitions.merge(
    pipeline.definitions(),
    dg.Definitions(
        assets=[newsletter],
        sensors=[
            dg.AutomationConditionSensorDefinition(
                "automation",
                target=dg.AssetSelection.assets(newsletter),
                default_status=dg.DefaultSensorStatus.RUNNING,
                minimum_interval_seconds=4,
            )
        ],
    ),
)
