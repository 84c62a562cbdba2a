"""``change_prompt_job``: one clip is made again with another prompt."""

import dagster as dg
from pydantic import Field

from sora_pipeline.admission.costs import known_cost_usd
from sora_pipeline.advice import explained
from sora_pipeline.amounts import usd
from sora_pipeline.assets.prompt_manifest import read_production, reading_metadata
from sora_pipeline.automation.control.jobs import control_job, production_named
from sora_pipeline.ledger import Production
from sora_pipeline.production.earlier_readings import EarlierReadings
from sora_pipeline.production.intake import open_production, read_snapshot
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline.production.new_prompts import NewPromptError, wanted_clip, write_amendment
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.store import OutputStore


class PromptConfig(dg.Config):
    """What is said in the Launchpad."""

    production: str = Field(
        default="", description="The production's name. Empty: the only one that there is."
    )
    clip: str = Field(default="", description="The clip's id, such as '001'.")
    prompt: str = Field(
        default="", description="What is to be seen; everything else stays as the clip's row says."
    )


def build(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job of a pipeline that gives a clip another prompt."""

    def change_prompt(context: dg.OpExecutionContext, config: PromptConfig) -> None:
        ledger = runtime.ledger
        production = production_named(ledger, runtime.names, config.production)
        clip = wanted_clip(ledger, production, config.clip)
        request = ProductionRequest(
            manifest=write_amendment(production, clip, config.prompt.strip()), name=production.production_id
        )
        _require_usable(runtime, production, request)
        read = read_production(context, request, runtime)
        context.log_event(
            dg.AssetMaterialization(
                runtime.names.prompt_manifest,
                metadata=reading_metadata(read, ledger.money.of_production(production.production_id)),
                tags={
                    "dagster/data_version": read.snapshot.snapshot_sha256,
                    "dagster/data_version_is_user_provided": "true",
                },
            )
        )
        price = usd(known_cost_usd([clip], runtime.catalogue), simulated=runtime.account.simulated)
        context.log.info(
            f"{production.production_id}: {clip.clip_id} is made with the new prompt, for {price} within the budget; it "
            "stays so until the clip's own row in the manifest changes"
        )

    description = (
        "Give one clip another prompt and have it made again, at its price. The campaign's manifest is not touched: the new prompt "
        "stands until the clip's own row in it changes."
    )
    return control_job(runtime, executor, "change_prompt", description, PromptConfig, change_prompt)


def _require_usable(runtime: PipelineRuntime, production: Production, request: ProductionRequest) -> None:
    """Refuse, before anything is changed, a prompt that cannot be used.

    Raises:
        NewPromptError: what is wrong with it.
    """
    ledger, settings = runtime.ledger, runtime.settings
    intake = open_production(ledger, settings, runtime.names.name, request)
    earlier = EarlierReadings(ledger, intake.decided)
    snapshot = read_snapshot(intake.file, settings, runtime.catalogue, explained, earlier)
    problem = next(iter(snapshot.problems), None)
    if problem is not None:
        store = OutputStore(production.output_uri)
        store.remove(request.manifest.shown.removeprefix(f"{store.uri}/"))
        raise NewPromptError(f"{problem.column}: {problem.message}")
