"""The asset ``video_manifest``: one table of what became of every row, published atomically."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from sora_pipeline.admission.holds import still_to_pay_usd
from sora_pipeline.advice import explained
from sora_pipeline.assets.decorators import manifest_asset
from sora_pipeline.assets.metadata import cell
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.spending import CostLine
from sora_pipeline.production.publishing import CSV, GALLERY, PARQUET, Published, publish
from sora_pipeline.runtime import PipelineRuntime


class PublishConfig(dg.Config):
    """Which production is published.

    Attributes:
        production: Its name; empty: every production whose output manifest is out of date, or else the newest.
    """

    production: str = ""


def build_video_manifest(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that publishes its output manifests."""
    names = runtime.names

    @manifest_asset(names, names.video_manifest, options=options)
    def video_manifest(
        context: dg.AssetExecutionContext, config: PublishConfig
    ) -> dg.MaterializeResult[None]:
        """The output manifest: ``metadata.parquet``, its CSV twin, the failed rows and a gallery."""
        ledger, settings = runtime.ledger, runtime.settings
        wanted = [config.production] if config.production else _out_of_date(ledger, names.name)
        if not wanted:
            raise dg.Failure(
                "no manifest was read so far; materialize prompt_manifest first", allow_retries=False
            )
        try:
            published = {
                identity: done
                for identity in wanted
                if (done := publish(ledger, identity, settings, context.run.run_id)) is not None
            }
        except SoraPipelineError as error:
            raise dg.Failure(explained(error)) from error
        if not published:
            context.log.info("another run is publishing at this moment, or did")
            return dg.MaterializeResult(metadata={"published": 0})
        identity, newest = list(published.items())[-1]
        production = ledger.productions.get(identity)
        return dg.MaterializeResult(metadata=_metadata(production, newest, runtime))

    return video_manifest


def _out_of_date(ledger: Ledger, pipeline: str) -> list[str]:
    productions = ledger.productions
    stale = [production.production_id for production in productions.unpublished(pipeline)]
    read = [production.production_id for production in productions.all(pipeline) if production.snapshot_path]
    return stale or read[:1]


def _metadata(production: Production, published: Published, runtime: PipelineRuntime) -> dict[str, Any]:
    ledger, settings, catalogue = runtime.ledger, runtime.settings, runtime.catalogue
    spending = ledger.money.of_production(production.production_id)
    to_pay = still_to_pay_usd(ledger, production, settings, catalogue)
    budget = {} if production.budget_usd is None else {"budget_usd": float(production.budget_usd)}
    output = production.output_uri.rstrip("/")
    rows = "\n".join(
        f"| {cell(outcome.clip_id)} | {outcome.status} | {cell(outcome.error_message or outcome.file_name or '')} |"
        for outcome in published.outcomes
    )
    counts = {f"clips_{status}": count for status, count in sorted(published.counts.items())}
    return {
        "clips": published.clips,
        **counts,
        "spent_usd": float(spending.spent_usd),
        "committed_usd": float(spending.committed_usd),
        "still_to_pay_usd": float(to_pay),
        **budget,
        "costs": _costs(ledger.money.report(("day", "model"), [production.production_id])),
        "manifest": dg.MetadataValue.path(f"{output}/{PARQUET}"),
        "csv": dg.MetadataValue.path(f"{output}/{CSV}"),
        "gallery": dg.MetadataValue.path(f"{output}/{GALLERY}"),
        "production": production.production_id,
        "rows": dg.MetadataValue.md(f"| clip | status | |\n|---|---|---|\n{rows}"),
    }


def _costs(lines: list[CostLine]) -> dg.MarkdownMetadataValue:
    rows = "\n".join(
        f"| {' | '.join(map(cell, line.keys))} | {line.clips} | {line.attempts} | {line.spent_usd:.2f} |"
        for line in lines
    )
    return dg.MetadataValue.md(
        f"| day | model | clips | billed attempts | USD |\n|---|---|---|---|---|\n{rows}"
    )
