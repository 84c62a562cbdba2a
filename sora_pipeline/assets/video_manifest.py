"""The asset ``video_manifest``: one table of what became of every row, published atomically."""

from typing import Any

import dagster as dg

from sora_pipeline.assets.videos import videos
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.spending import CostLine
from sora_pipeline.names import GROUP
from sora_pipeline.production.holding import still_to_pay_usd
from sora_pipeline.production.publishing import CSV, GALLERY, PARQUET, Published, publish
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.resources import DeskResource
from sora_pipeline.settings import Settings


class PublishConfig(dg.Config):
    """Which production is published.

    Attributes:
        production: Its id; empty: every production whose output manifest is out of date, or else the newest.
    """

    production: str = ""


@dg.asset(group_name=GROUP, kinds={"parquet", "csv"}, deps=[videos], code_version="1")
def video_manifest(
    context: dg.AssetExecutionContext, config: PublishConfig, desk: DeskResource
) -> dg.MaterializeResult[None]:
    """The output manifest: ``metadata.parquet``, its CSV twin, the failed rows and a gallery."""
    ledger, settings = desk.ledger.open(), desk.settings.read()
    wanted = [config.production] if config.production else _out_of_date(desk)
    if not wanted:
        raise dg.Failure(
            "no manifest was read so far; materialize prompt_manifest first", allow_retries=False
        )
    published = [
        done
        for production in wanted
        if (done := publish(ledger, production, settings, context.run.run_id)) is not None
    ]
    if not published:
        context.log.info("another run is publishing at this moment, or did")
        return dg.MaterializeResult(metadata={"published": 0})
    return dg.MaterializeResult(metadata=_metadata(published[-1], ledger, settings, desk.catalogue()))


def _out_of_date(desk: DeskResource) -> list[str]:
    productions = desk.ledger.open().productions
    stale = [production.production_id for production in productions.unpublished()]
    return stale or [each.production_id for each in productions.all() if each.snapshot_path][:1]


def _metadata(
    published: Published, ledger: Ledger, settings: Settings, catalogue: Catalogue
) -> dict[str, Any]:
    production = published.production
    spending = ledger.money.of_production(production.production_id)
    to_pay = still_to_pay_usd(ledger, production, settings, catalogue)
    budget = {} if production.budget_usd is None else {"budget_usd": float(production.budget_usd)}
    output = production.output_uri.rstrip("/")
    rows = "\n".join(
        f"| {outcome.clip_id} | {outcome.status} | {(outcome.error_message or outcome.file_name or '')[:160]} |"
        for outcome in published.outcomes[:50]
    )
    counts = {f"clips_{status}": count for status, count in sorted(published.counts.items())}
    return {
        "clips": len(published.outcomes),
        **counts,
        "spent_usd": float(spending.spent_usd),
        "committed_usd": float(spending.committed_usd),
        "still_to_pay_usd": float(to_pay),
        **budget,
        "costs": _costs(ledger.money.report(("day", "model"), production.production_id)),
        "manifest": dg.MetadataValue.path(f"{output}/{PARQUET}"),
        "csv": dg.MetadataValue.path(f"{output}/{CSV}"),
        "gallery": dg.MetadataValue.path(f"{output}/{GALLERY}"),
        "production": production.production_id,
        "rows": dg.MetadataValue.md(f"| clip | status | |\n|---|---|---|\n{rows}"),
    }


def _costs(lines: list[CostLine]) -> dg.MarkdownMetadataValue:
    rows = "\n".join(
        f"| {' | '.join(line.keys)} | {line.clips} | {line.attempts} | {line.spent_usd:.2f} |"
        for line in lines
    )
    return dg.MetadataValue.md(
        f"| day | model | clips | billed attempts | USD |\n|---|---|---|---|---|\n{rows}"
    )
