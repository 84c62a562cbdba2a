"""Asset checks: a production's health at one glance in the UI. Evaluated whenever a manifest is published."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from sora_pipeline.assets.generations import generations
from sora_pipeline.assets.video_manifest import video_manifest
from sora_pipeline.assets.videos import videos
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG, SUBMITS_ALLOWED
from sora_pipeline.production import health
from sora_pipeline.production.health import Verdict
from sora_pipeline.production.stopping import stop_sentence
from sora_pipeline.resources import DeskResource

_LOOKS = {
    health.ROWS: (video_manifest, "The output manifest has one row for every clip and every bad row."),
    health.DELIVERED: (video_manifest, "Every row is delivered; what is still under way is a warning."),
    health.SPEND: (video_manifest, "The manifest's costs are those of the ledger, to the cent."),
    health.FILES: (
        videos,
        "Every delivered file is there and has the bytes and the hash it was stored with.",
    ),
    health.AS_ASKED: (videos, "Every video has the size and duration that its row asks for."),
    health.AMBIGUOUS: (videos, "No submit lost its answer: such a clip may have been billed."),
}


@dg.multi_asset_check(
    name="production_health",
    specs=[
        dg.AssetCheckSpec(name, asset=asset, description=description)
        for name, (asset, description) in _LOOKS.items()
    ],
    can_subset=True,
)
def production_health(
    context: dg.AssetCheckExecutionContext, desk: DeskResource
) -> Iterator[dg.AssetCheckResult]:
    """The production that was just published, or else the one published last, from all sides.

    A person who runs it has every file read again; the publish sensor's runs only those not read back so far.
    """
    ledger = desk.ledger.open()
    production = _production(ledger, context.run.tags.get(PRODUCTION_TAG))
    if production is None:
        raise dg.Failure(
            "no output manifest was published so far; materialize video_manifest first", allow_retries=False
        )
    verdicts = health.examine(ledger, production, every_hash=REQUESTED_BY_TAG not in context.run.tags)
    wanted = {key.name for key in context.selected_asset_check_keys}
    for verdict in verdicts:
        if verdict.name in wanted:
            yield _result(verdict, production)


def _production(ledger: Ledger, identity: str | None) -> Production | None:
    published = [each for each in ledger.productions.all() if each.published_at]
    return next(
        (each for each in published if each.production_id == identity),
        max(published, key=lambda each: str(each.published_at), default=None),
    )


def _result(verdict: Verdict, production: Production) -> dg.AssetCheckResult:
    metadata: dict[str, Any] = {"production": production.production_id, "manifest": production.manifest_uri}
    return dg.AssetCheckResult(
        asset_key=_LOOKS[verdict.name][0].key,
        check_name=verdict.name,
        passed=verdict.healthy,
        severity=dg.AssetCheckSeverity.ERROR if verdict.serious else dg.AssetCheckSeverity.WARN,
        description=verdict.sentence,
        metadata=metadata | dict(verdict.facts),
    )


@dg.asset_check(
    asset=generations,
    name=SUBMITS_ALLOWED,
    description="Nothing stops submits: key, balance and model are good, and clips are not refused in a row.",
)
def submits_allowed(desk: DeskResource) -> dg.AssetCheckResult:
    """The breaker as it stands; the dispatch sensor reports every change by itself."""
    breaker = desk.ledger.open().breakers.get(desk.settings.read().provider)
    return dg.AssetCheckResult(passed=breaker is None, description=breaker_sentence(breaker))


def breaker_sentence(breaker: Breaker | None) -> str:
    """The breaker in words, open or not."""
    return "submits go on" if breaker is None else stop_sentence(breaker)


health_checks = [production_health, submits_allowed]
