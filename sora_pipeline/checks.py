"""Asset checks: a production's health at one glance in the UI. Evaluated whenever a manifest is published."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.advice import explained
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG, SUBMITS_ALLOWED, PipelineNames
from sora_pipeline.production import health
from sora_pipeline.production.health import Verdict
from sora_pipeline.runtime import PipelineRuntime

_OF_MANIFEST = {
    health.ROWS: "The output manifest has one row for every clip and every bad row.",
    health.DELIVERED: "Every row is delivered; what is still under way is a warning.",
    health.SPEND: "The manifest's costs are those of the ledger, to the cent.",
}
_OF_VIDEOS = {
    health.FILES: "Every delivered file is there and has the bytes and the hash it was stored with.",
    health.AS_ASKED: "Every video has the size and duration that its row asks for.",
    health.AMBIGUOUS: "No submit lost its answer: such a clip may have been billed.",
}


def build_production_health(runtime: PipelineRuntime) -> dg.AssetChecksDefinition:
    """The checks of a pipeline's output manifest and videos."""
    names = runtime.names

    @dg.multi_asset_check(
        name=names.of("production_health"),
        specs=_specs(names),
        can_subset=True,
        required_resource_keys={names.run_lock},
    )
    def production_health(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        """The production that was just published, or else the one published last, from all sides.

        A person who runs it has every file read again; the publish sensor's runs only those not read back so far.
        """
        ledger = runtime.ledger
        production = _production(ledger, names.name, context.run.tags.get(PRODUCTION_TAG))
        if production is None:
            raise dg.Failure(
                "no output manifest was published so far; materialize video_manifest first",
                allow_retries=False,
            )
        verdicts = health.examine(ledger, production, every_hash=REQUESTED_BY_TAG not in context.run.tags)
        keys = {key.name: key.asset_key for key in context.selected_asset_check_keys}
        for verdict in verdicts:
            if verdict.name in keys:
                yield _result(keys[verdict.name], verdict, production)

    return production_health


def _specs(names: PipelineNames) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, description=description)
        for asset, checks in ((names.video_manifest, _OF_MANIFEST), (names.videos, _OF_VIDEOS))
        for name, description in checks.items()
    ]


def _production(ledger: Ledger, pipeline: str, identity: str | None) -> Production | None:
    published = [production for production in ledger.productions.all(pipeline) if production.published_at]
    return next(
        (production for production in published if production.production_id == identity),
        max(published, key=lambda production: str(production.published_at), default=None),
    )


def _result(asset: dg.AssetKey, verdict: Verdict, production: Production) -> dg.AssetCheckResult:
    reason = Reason(verdict.sentence, verdict.code, {"production": production.production_id, "clip": "ID"})
    metadata: dict[str, Any] = {"production": production.production_id, "manifest": production.manifest_uri}
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=verdict.name,
        passed=verdict.healthy,
        severity=dg.AssetCheckSeverity.ERROR if verdict.serious else dg.AssetCheckSeverity.WARN,
        description=explained(reason),
        metadata=metadata | dict(verdict.facts),
    )


def build_submits_allowed(runtime: PipelineRuntime) -> dg.AssetChecksDefinition:
    """The check of a pipeline's generations that shows whether anything stops submits."""

    @dg.asset_check(
        asset=runtime.names.generations,
        name=SUBMITS_ALLOWED,
        description="Nothing stops submits: key, balance and model are good, and clips are not refused in a row.",
    )
    def submits_allowed() -> dg.AssetCheckResult:
        """The breaker as it stands; the dispatch sensor reports every change by itself."""
        breaker = runtime.ledger.breakers.get(runtime.account.name)
        return dg.AssetCheckResult(passed=breaker is None, description=breaker_sentence(breaker))

    return submits_allowed


def breaker_sentence(breaker: Breaker | None) -> str:
    """The breaker in words, open or not."""
    return "submits go on" if breaker is None else explained(why_stopped(breaker))
