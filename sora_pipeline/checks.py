"""Asset checks: the health of all productions at one glance in the UI. Evaluated whenever a run publishes a manifest.

Dagster has one result for a check. Each therefore tells of the production that was just looked at, and fails while any
other is not well either, as it was when that one was looked at last.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.advice import explained
from sora_pipeline.amounts import listed
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.ledger.verdicts import KnownVerdict
from sora_pipeline.names import PRODUCTION_TAG, REQUESTED_BY_TAG, SUBMITS_ALLOWED, PipelineNames
from sora_pipeline.production import health
from sora_pipeline.production.health import Verdict
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.store import StoreError

MOST_SHOWN = 50
"""Productions that are not well which one check lists."""
MOST_LOOKED_AT = 20
"""Productions that are not well which are looked at again where a person asks."""

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
        """The production that was just published, or else the one published last and all that are not well, from all sides.

        A person who runs it has every file read again; the publish sensor's runs only those not read back so far.
        """
        ledger = runtime.ledger
        of_sensor = REQUESTED_BY_TAG in context.run.tags
        production = _production(ledger, names.name, context.run.tags.get(PRODUCTION_TAG))
        if production is None:
            raise dg.Failure(
                "no output manifest was published so far; materialize video_manifest first",
                allow_retries=False,
            )
        if not of_sensor:
            _look_again(ledger, names.name, production)
        selected = {key.name for key in context.selected_asset_check_keys}
        for result in _results(ledger, names, production, every_hash=not of_sensor):
            if result.check_name in selected:
                yield result

    return production_health


def health_evaluations(
    ledger: Ledger, names: PipelineNames, production: Production
) -> Iterator[dg.AssetCheckEvaluation]:
    """What the checks say of a production that was just published, for a run that materializes nothing: Dagster skips them there."""
    for result in _results(ledger, names, production, every_hash=False):
        assert result.asset_key is not None
        assert result.check_name is not None
        yield dg.AssetCheckEvaluation(
            asset_key=result.asset_key,
            check_name=result.check_name,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )


def _results(
    ledger: Ledger, names: PipelineNames, production: Production, *, every_hash: bool
) -> Iterator[dg.AssetCheckResult]:
    """Look at a production; what that says of all of the pipeline's."""
    verdicts = _examined(ledger, production, every_hash=every_hash)
    others = [
        each
        for each in ledger.verdicts.not_well(names.name)
        if each.production_id != production.production_id
    ]
    counts = ledger.verdicts.counts(names.name)
    for verdict in verdicts:
        same = [other for other in others if other.name == verdict.name]
        asset = names.video_manifest if verdict.name in _OF_MANIFEST else names.videos
        yield _result(asset, verdict, production, same, counts[verdict.name])


def _examined(ledger: Ledger, production: Production, *, every_hash: bool) -> list[Verdict]:
    """Look at a production, and keep what was found."""
    verdicts = health.examine(ledger, production, every_hash=every_hash)
    identity = production.production_id
    found = [(each.name, each.healthy, each.serious, _explained(each, identity)) for each in verdicts]
    ledger.verdicts.record(identity, found)
    return verdicts


def _look_again(ledger: Ledger, pipeline: str, but: Production) -> None:
    """Look at other productions that were not well; one whose output is away stays as it was."""
    names = dict.fromkeys(each.production_id for each in ledger.verdicts.not_well(pipeline))
    for identity in [name for name in names if name != but.production_id][:MOST_LOOKED_AT]:
        with suppress(StoreError):
            _examined(ledger, ledger.productions.get(identity), every_hash=False)


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


def _result(
    asset: dg.AssetKey,
    verdict: Verdict,
    production: Production,
    others: Sequence[KnownVerdict],
    looked_at: int,
) -> dg.AssetCheckResult:
    """What was found in the production at hand, and which others are not well."""
    identity, now = production.production_id, _explained(verdict, production.production_id)
    bad: list[Verdict | KnownVerdict] = [*([] if verdict.healthy else [verdict]), *others]
    serious = any(each.serious for each in bad) if bad else verdict.serious
    metadata: dict[str, Any] = {
        "production": identity,
        "manifest": production.manifest_uri,
        **verdict.facts,
        "productions_looked_at": looked_at,
        "productions_not_well": len(bad),
    }
    if bad:
        mine = [] if verdict.healthy else [_row(identity, now, "now")]
        rows = mine + [
            _row(each.production_id, each.sentence, f"{each.looked_at:%Y-%m-%d %H:%M} UTC") for each in others
        ]
        metadata["not_well"] = dg.MetadataValue.table(rows[:MOST_SHOWN])
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=verdict.name,
        passed=not bad,
        severity=dg.AssetCheckSeverity.ERROR if serious else dg.AssetCheckSeverity.WARN,
        description=f"{identity}: {now}{_also(others)}",
        metadata=metadata,
    )


def _row(production_id: str, found: str, looked_at: str) -> dg.TableRecord:
    return dg.TableRecord({"production": production_id, "found": found, "looked at": looked_at})


def _also(others: Sequence[KnownVerdict]) -> str:
    if not others:
        return ""
    names = listed([other.production_id for other in others], 5)
    return f"\n\nNot well in {names}, too; the table below has what was found there."


def _explained(verdict: Verdict, production_id: str) -> str:
    return explained(Reason(verdict.sentence, verdict.code, {"production": production_id, "clip": "ID"}))


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
