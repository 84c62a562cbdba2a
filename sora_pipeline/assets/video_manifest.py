"""The asset ``video_manifest``: one table of what became of every row, published atomically."""

from typing import Any

import dagster as dg

from sora_pipeline.assets.videos import videos
from sora_pipeline.names import GROUP
from sora_pipeline.production.publishing import CSV, GALLERY, PARQUET, Published, publish
from sora_pipeline.resources import DeskResource


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
    return dg.MaterializeResult(metadata=_metadata(published[-1]))


def _out_of_date(desk: DeskResource) -> list[str]:
    productions = desk.ledger.open().productions
    stale = [production.production_id for production in productions.unpublished()]
    return stale or [each.production_id for each in productions.all() if each.snapshot_path][:1]


def _metadata(published: Published) -> dict[str, Any]:
    output = published.production.output_uri.rstrip("/")
    rows = "\n".join(
        f"| {outcome.clip_id} | {outcome.status} | {(outcome.error_message or outcome.file_name or '')[:160]} |"
        for outcome in published.outcomes[:50]
    )
    counts = {f"clips_{status}": count for status, count in sorted(published.counts.items())}
    return {
        "clips": len(published.outcomes),
        **counts,
        "spent_usd": sum(outcome.cost_usd or 0.0 for outcome in published.outcomes),
        "manifest": dg.MetadataValue.path(f"{output}/{PARQUET}"),
        "csv": dg.MetadataValue.path(f"{output}/{CSV}"),
        "gallery": dg.MetadataValue.path(f"{output}/{GALLERY}"),
        "production": published.production.production_id,
        "rows": dg.MetadataValue.md(f"| clip | status | |\n|---|---|---|\n{rows}"),
    }
