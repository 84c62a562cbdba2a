"""The asset ``prompt_manifest``: a CSV or Parquet file becomes checked rows and one partition a clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import dagster as dg
from pydantic import Field

from sora_pipeline.admission.budgets import budget_of
from sora_pipeline.advice import explained
from sora_pipeline.assets.columns import SCHEMA, input_schema
from sora_pipeline.assets.decorators import manifest_asset
from sora_pipeline.assets.metadata import cell
from sora_pipeline.clip import clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, OvertakenError, Production
from sora_pipeline.ledger.spending import Spending
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.production.earlier_readings import EarlierReadings
from sora_pipeline.production.estimates import Estimate, estimate
from sora_pipeline.production.finish import withdraw_if_going_on
from sora_pipeline.production.intake import (
    open_production,
    read_snapshot,
    register,
    require_affordable,
)
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.streams import stretches
from sora_pipeline.uris import Uri, absolute_uri

SHOWN_ROWS = 200
MOST_OVERTAKEN = 5
"""How often a manifest is read again where somebody else has read it meanwhile."""


class ManifestConfig(dg.Config):
    """Which manifest is read, and where its videos go. All may be left empty where the pipeline has a manifest."""

    production: str = Field(
        default="", description="The production's name. Empty: the pipeline's, else the manifest's file name."
    )
    manifest: str = Field(
        default="",
        description="Path or fsspec URI. Empty: the pipeline's, or SORA_MANIFEST. Dagster keeps it as it is given; one that a command "
        "asked for is named here without secrets, and opened as the ledger has it.",
    )
    output: str = Field(
        default="",
        description="Path or fsspec URI. Empty: as it was, or else a folder of its own below SORA_OUTPUT.",
    )
    budget_usd: str = Field(
        default="",
        description="US dollars that the production may cost, such as '25'. Empty: as it was, or else SORA_BUDGET_USD.",
    )


def build_prompt_manifest(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that reads its manifests."""
    names = runtime.names

    @manifest_asset(names, names.prompt_manifest, options=options)
    def prompt_manifest(
        context: dg.AssetExecutionContext, config: ManifestConfig
    ) -> dg.MaterializeResult[None]:
        """The input manifest: every row checked, one clip partition for each valid row and take.

        Rows that cannot be used are listed in the metadata and in the output manifest; the others go on.
        """
        request, ledger = _requested(config, runtime), runtime.ledger
        try:
            read = read_production(context, request, runtime)
        except SoraPipelineError as error:
            sentence = explained(error)
            _record_problem(ledger, names.name, request, sentence)
            raise dg.Failure(sentence, allow_retries=False) from None
        spending = ledger.money.of_production(read.production.production_id)
        return dg.MaterializeResult(
            metadata=reading_metadata(read, spending),
            data_version=dg.DataVersion(read.snapshot.snapshot_sha256),
        )

    return prompt_manifest


@dataclass(frozen=True, slots=True)
class ProductionRead:
    """A manifest that was read for a production, or that only amends rows of it."""

    production: Production
    amends: bool
    ledger_id: str
    snapshot: Snapshot
    costs: Estimate


def read_production(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    request: ProductionRequest,
    runtime: PipelineRuntime,
) -> ProductionRead:
    """Read and check a manifest, and make its clips what the ledger wants; again where a later reading has overtaken this one.

    Raises:
        SoraPipelineError: it cannot be used as a whole.
    """
    for _ in range(MOST_OVERTAKEN):
        try:
            return _read_once(context, request, runtime)
        except OvertakenError as overtaken:
            context.log.info(f"{overtaken}; what it says now is read")
    return _read_once(context, request, runtime)


def _read_once(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    request: ProductionRequest,
    runtime: PipelineRuntime,
) -> ProductionRead:
    settings, ledger, catalogue = runtime.settings, runtime.ledger, runtime.catalogue
    began_at = ledger.now()
    intake = open_production(ledger, settings, runtime.names.name, request)
    earlier = EarlierReadings(ledger, intake.decided)
    snapshot = read_snapshot(intake.file, settings, catalogue, explained, earlier)
    require_affordable(ledger, intake.decided, snapshot)
    for sentence in snapshot.understanding.sentences:
        context.log.info(sentence)
    for problem in snapshot.problems[:SHOWN_ROWS]:
        context.log.warning(problem.sentence(snapshot.manifest_uri))
    for standing in snapshot.standing_images[:SHOWN_ROWS]:
        context.log.warning(standing.sentence)
    identity = intake.decided.plan.production_id
    # In bulk and before the ledger wants them: the dispatch sensor requests only partitions that exist.
    for stretch in stretches(snapshot.clips):
        keys = [clip_key(identity, clip.clip_id) for clip in stretch]
        context.instance.add_dynamic_partitions(runtime.names.clips, keys)
    costs = estimate(snapshot.clips, ledger, identity, catalogue, settings.max_attempts)
    production = register(snapshot, intake.decided, ledger, began_at, settings.max_attempts)
    withdraw_if_going_on(ledger, production, settings)
    return ProductionRead(production, intake.decided.amends, ledger.ledger_id, snapshot, costs)


def _record_problem(ledger: Ledger, pipeline: str, request: ProductionRequest, error: str) -> None:
    """Let people see why a manifest could not be read, where its production is known."""
    known = [
        production.production_id for production in ledger.productions.of_manifest(request.manifest, pipeline)
    ]
    for name in [request.name] if request.name else known:
        ledger.productions.record_problem(name, error)


def _requested(config: ManifestConfig, runtime: PipelineRuntime) -> ProductionRequest:
    """Manifest, name, output and budget: the run's, else the pipeline's."""
    manifest = config.manifest or runtime.settings.manifest
    if not manifest:
        raise dg.Failure(
            "no manifest is named: set SORA_MANIFEST, give the pipeline a `manifest`, or name one in the run's config",
            allow_retries=False,
        )
    # A pipeline's own name and output are those of its own manifest.
    own = not config.manifest
    return ProductionRequest(
        manifest=_asked_for(config, runtime.ledger) or Uri(absolute_uri(manifest)),
        name=config.production or (runtime.production if own else ""),
        output=config.output,
        budget_usd=_budget(config.budget_usd) if config.budget_usd else None,
    )


def _asked_for(config: ManifestConfig, ledger: Ledger) -> Uri | None:
    """The manifest that a command asked for, where the run's config names it; the ledger alone has its secrets."""
    production = ledger.productions.find(config.production) if config.production else None
    if production is None:
        return None
    known = (production.requested_manifest, production.manifest_uri)
    return next((uri for uri in known if uri is not None and uri.shown == config.manifest), None)


def _budget(text: str) -> Decimal:
    try:
        return budget_of(text)
    except ValueError as error:
        raise dg.Failure(f"budget_usd={error}", allow_retries=False) from None


def reading_metadata(read: ProductionRead, spending: Spending) -> dict[str, Any]:
    """What Dagster keeps of a reading, enough to put a lost ledger together again."""
    production, snapshot, costs = read.production, read.snapshot, read.costs
    shown = "\n".join(
        f"| {cell(clip.clip_id)} | {cell(clip.prompt, 80)} | {clip.duration} s | {clip.size} | {cell(clip.model)} |"
        for clip in snapshot.clips[:20]
    )
    metadata: dict[str, Any] = {
        "clips": len(snapshot.clips),
        "invalid_rows": len(snapshot.invalid),
        "estimate_usd": float(costs.total_usd),
        "still_to_pay_usd": float(costs.to_pay_usd),
        "clips_to_pay": costs.clips_to_pay,
        "spent_usd": float(spending.spent_usd),
        "committed_usd": float(spending.committed_usd),
        "manifest": dg.MetadataValue.path(snapshot.manifest_uri.shown),
        "manifest_sha256": snapshot.manifest_sha256,
        "output": dg.MetadataValue.path(production.output_uri),
        "production": production.production_id,
        "pipeline": production.pipeline,
        "ledger_id": read.ledger_id,
        "amends": read.amends,
        "budget_given": production.budget_given,
        "account": production.account or "",
        "simulated": production.simulated,
        "dagster/row_count": len(snapshot.clips) + len(snapshot.invalid),
        SCHEMA: input_schema(snapshot.carried_columns),
        "preview": dg.MetadataValue.md(
            f"| clip | prompt | duration | size | model |\n|---|---|---|---|---|\n{shown}"
        ),
    }
    if production.budget_usd is not None:
        metadata["budget_usd"] = float(production.budget_usd)
    if understood := snapshot.understanding.sentences:
        metadata["understood"] = "\n".join(understood)
    if snapshot.standing_images:
        metadata["images_not_read"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"row": image.place, "clip": image.clip_id, "problem": image.problem})
                for image in snapshot.standing_images[:SHOWN_ROWS]
            ]
        )
    if problems := snapshot.problems[:SHOWN_ROWS]:
        metadata["problems"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "row": problem.shown_place,
                        "column": problem.column,
                        "value": str(problem.value),
                        "problem": problem.message,
                    }
                )
                for problem in problems
            ]
        )
    return metadata
