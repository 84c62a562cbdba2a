"""The asset ``video_manifest``: one table of what became of every row, published atomically.

It is materialized when a production has finished, so that what is downstream of it begins then, and not halfway; or by a person.
A run that publishes one that is stopped, or goes on, notes an observation.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from typing import Any

import dagster as dg
from pydantic import Field

from sora_pipeline.admission.holds import still_to_pay_usd
from sora_pipeline.advice import explained
from sora_pipeline.assets.clips import requested_by_person
from sora_pipeline.assets.columns import LINEAGE, SCHEMA, lineage, output_schema
from sora_pipeline.assets.decorators import manifest_asset
from sora_pipeline.assets.metadata import cell
from sora_pipeline.checks import health_evaluations
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.finished_check import finished_evaluation
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.spending import CostLine
from sora_pipeline.media_server.public_links import public_address
from sora_pipeline.production.finish import Finish
from sora_pipeline.production.progress import progress_of
from sora_pipeline.production.publishing import CSV, GALLERY, PARQUET, Published, publishing
from sora_pipeline.runtime import PipelineRuntime

WAIT_S = 600.0
"""How long a run waits for another that writes the same production."""
LOOK_S = 0.5
LOOKED_BACK = 100
"""Materializations among which one of the same end is looked for."""


class PublishConfig(dg.Config):
    """Which production is published."""

    production: str = Field(
        default="",
        description="The production's name. Empty: every one whose output manifest is out of date, or else the newest.",
    )


def build_video_manifest(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that publishes its output manifests."""
    names = runtime.names

    @manifest_asset(names, names.video_manifest, options=options, always=False)
    def video_manifest(
        context: dg.AssetExecutionContext, config: PublishConfig
    ) -> Any:  # Dagster reads the annotation of a generator as an output type
        """The output manifest: ``metadata.parquet``, its CSV twin, the failed rows and a gallery."""
        ledger = runtime.ledger
        wanted = [config.production] if config.production else _out_of_date(ledger, names.name)
        if not wanted:
            raise dg.Failure(
                "no manifest was read so far; materialize prompt_manifest first", allow_retries=False
            )
        with ExitStack() as stack:
            try:
                newest = _publish_all(context, runtime, wanted, stack)
            except SoraPipelineError as error:
                raise dg.Failure(explained(error)) from error
            observed = yield from _events(context, runtime, newest)
        if observed is not None:
            _report_checks(context.instance, runtime, observed)

    return video_manifest


def _publish_all(
    context: dg.AssetExecutionContext, runtime: PipelineRuntime, wanted: list[str], stack: ExitStack
) -> tuple[Production, Published] | None:
    """Publish these; the last of them. They count as published when the stack ends well, once Dagster knows of them."""
    newest = None
    for identity in wanted:
        published, record = _publish(context, runtime, identity, stack)
        if published is not None:
            stack.push(lambda kind, *_, record=record: None if kind else record())
            newest = runtime.ledger.productions.get(identity), published
    return newest


def _publish(
    context: dg.AssetExecutionContext, runtime: PipelineRuntime, identity: str, stack: ExitStack
) -> tuple[Published | None, Any]:
    """Publish one, as soon as nobody else does; None: another run has, meanwhile, what there was to publish."""
    ledger, settings, give_up = runtime.ledger, runtime.settings, time.monotonic() + WAIT_S
    wanted_seq = ledger.productions.get(identity).change_seq
    while True:
        with ExitStack() as block:
            published, record = block.enter_context(
                publishing(ledger, identity, settings, context.run.run_id)
            )
            if published is not None:
                stack.enter_context(block.pop_all())
                return published, record
        done = ledger.productions.get(identity).published_seq >= wanted_seq
        if done or time.monotonic() > give_up:
            context.log.info(f"another run is publishing {identity} at this moment, or did")
            return None, record
        time.sleep(LOOK_S)


def _events(
    context: dg.AssetExecutionContext, runtime: PipelineRuntime, newest: tuple[Production, Published] | None
) -> Generator[dg.MaterializeResult[None] | dg.AssetObservation, None, str | None]:
    """What Dagster is told: a materialization of what a person asked for, or has finished and was not told of so far.

    Returns:
        The production of which only an observation is noted, if it is one.
    """
    if newest is None:
        return None
    production, published = newest
    metadata, finish = _metadata(production, published, runtime), published.finish
    key = runtime.names.video_manifest
    by_person = requested_by_person(context.run.tags)
    if by_person or (finish is not None and not _is_told(context.instance, key, finish)):
        yield dg.MaterializeResult(metadata=metadata)
        return None
    sentence = (
        f"{production.production_id} goes on" if finish is None else "nothing has changed since it finished"
    )
    yield dg.AssetObservation(key, description=sentence, metadata=metadata)
    return production.production_id


def _report_checks(instance: dg.DagsterInstance, runtime: PipelineRuntime, production_id: str) -> None:
    """Evaluate the checks where nothing is materialized: Dagster skips their steps in such a run, and would show nothing of a stopped one."""
    ledger, names = runtime.ledger, runtime.names
    production = ledger.productions.get(production_id)
    try:
        for evaluation in health_evaluations(ledger, names, production):
            instance.report_runless_asset_event(evaluation)
    except SoraPipelineError as error:
        raise dg.Failure(explained(error)) from error
    progress = progress_of(ledger, production, runtime.settings, runtime.catalogue)
    instance.report_runless_asset_event(finished_evaluation(names, progress))


def _is_told(instance: dg.DagsterInstance, key: dg.AssetKey, finish: Finish) -> bool:
    """Whether Dagster knows of this end of a production: a manifest that was merely read again is no news."""
    wanted = _metadata_of_finish(finish)
    for record in instance.fetch_materializations(key, limit=LOOKED_BACK).records:
        told = record.asset_materialization
        if told is not None and all(told.metadata.get(name) == value for name, value in wanted.items()):
            return True
    return False


def _metadata_of_finish(finish: Finish) -> dict[str, dg.MetadataValue[Any]]:
    return {
        "production": dg.MetadataValue.text(finish.production),
        "finished_at": dg.MetadataValue.timestamp(finish.finished_at),
        "rows_sha256": dg.MetadataValue.text(finish.rows_sha256),
    }


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
    public = public_address(settings, output)
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
        "gallery": dg.MetadataValue.path(f"{output}/{GALLERY}")
        if public is None
        else dg.MetadataValue.url(f"{public}/{GALLERY}"),
        "production": production.production_id,
        "finished": published.finish is not None,
        **({} if published.finish is None else _metadata_of_finish(published.finish)),
        "rows": dg.MetadataValue.md(f"| clip | status | |\n|---|---|---|\n{rows}"),
        "dagster/row_count": published.counts.total(),
        SCHEMA: output_schema(published.columns),
        LINEAGE: lineage(published.columns, runtime.names.prompt_manifest),
    }


def _costs(lines: list[CostLine]) -> dg.MarkdownMetadataValue:
    rows = "\n".join(
        f"| {' | '.join(map(cell, line.keys))} | {line.clips} | {line.attempts} | {line.spent_usd:.2f} |"
        for line in lines
    )
    return dg.MetadataValue.md(
        f"| day | model | clips | billed attempts | USD |\n|---|---|---|---|---|\n{rows}"
    )
