"""The asset ``prompt_manifest``: a CSV or Parquet file becomes checked rows and one partition a clip."""

from decimal import Decimal, InvalidOperation
from typing import Any

import dagster as dg

from sora_pipeline.ledger import Production
from sora_pipeline.ledger.spending import Spending
from sora_pipeline.manifest.problems import ManifestProblem
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.names import CLIPS, GROUP
from sora_pipeline.production.reading import Estimate, estimate, read_snapshot, register
from sora_pipeline.resources import DeskResource
from sora_pipeline.settings import SettingsProblem
from sora_pipeline.store import StoreProblem
from sora_pipeline.uris import absolute_uri

SHOWN_ROWS = 200


class ManifestConfig(dg.Config):
    """Which manifest is read, and where its videos go.

    Attributes:
        manifest: Path or fsspec URI; empty: ``SORA_MANIFEST``.
        output: Path or fsspec URI; empty: ``SORA_OUTPUT``.
        budget_usd: US dollars this production may cost, as text; empty: ``SORA_BUDGET_USD``.
    """

    manifest: str = ""
    output: str = ""
    budget_usd: str = ""


@dg.asset(group_name=GROUP, kinds={"csv", "parquet"}, code_version="1")
def prompt_manifest(
    context: dg.AssetExecutionContext, config: ManifestConfig, desk: DeskResource
) -> dg.MaterializeResult[None]:
    """The input manifest: every row checked, one clip partition for each valid row and take.

    Rows that cannot be used are listed in the metadata and in the output manifest; the others go on.
    """
    settings, ledger, catalogue = desk.settings.read(), desk.ledger.open(), desk.catalogue()
    uri = absolute_uri(config.manifest) if config.manifest else settings.manifest
    output = absolute_uri(config.output) if config.output else settings.output
    if uri is None:
        raise dg.Failure(
            "no manifest is named: set SORA_MANIFEST, or give `manifest` in the run's config",
            allow_retries=False,
        )
    budget = _budget(config.budget_usd) if config.budget_usd else settings.budget_usd
    began_at = ledger.now()
    try:
        snapshot = read_snapshot(uri, settings, catalogue)
    except (ManifestProblem, SettingsProblem) as error:
        ledger.productions.record_problem(uri, output, str(error))
        raise dg.Failure(str(error), allow_retries=False) from None
    for problem in snapshot.problems[:SHOWN_ROWS]:
        context.log.warning(problem.sentence(uri))
    # In bulk and before the ledger wants them: the dispatch sensor requests only partitions that exist.
    context.instance.add_dynamic_partitions(CLIPS, [clip.clip_id for clip in snapshot.clips])
    costs = estimate(snapshot.clips, ledger, catalogue)
    try:
        production = register(snapshot, output, budget, ledger, began_at)
    except StoreProblem as error:
        ledger.productions.record_problem(uri, output, str(error))
        raise dg.Failure(str(error), allow_retries=False) from None
    return dg.MaterializeResult(
        metadata=_metadata(snapshot, costs, production, ledger.money.of_production(production.production_id)),
        data_version=dg.DataVersion(snapshot.snapshot_sha256),
    )


def _budget(text: str) -> Decimal:
    try:
        budget = Decimal(text)
    except InvalidOperation:
        budget = Decimal(-1)
    if not budget.is_finite() or budget < 0:
        raise dg.Failure(
            f"budget_usd={text!r} is not an amount of US dollars such as 25 or 12.50", allow_retries=False
        )
    return budget


def _metadata(
    snapshot: Snapshot, costs: Estimate, production: Production, spending: Spending
) -> dict[str, Any]:
    shown = "\n".join(
        f"| {clip.clip_id} | {clip.prompt[:80].replace('|', ' ')} | {clip.duration} s | {clip.size} | {clip.model} |"
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
        "manifest": dg.MetadataValue.path(snapshot.manifest_uri),
        "manifest_sha256": snapshot.manifest_sha256,
        "output": dg.MetadataValue.path(production.output_uri),
        "production": production.production_id,
        "preview": dg.MetadataValue.md(
            f"| clip | prompt | duration | size | model |\n|---|---|---|---|---|\n{shown}"
        ),
    }
    if production.budget_usd is not None:
        metadata["budget_usd"] = float(production.budget_usd)
    if snapshot.problems:
        metadata["problems"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "row": problem.row_number,
                        "column": problem.column,
                        "value": str(problem.value),
                        "problem": problem.message,
                    }
                )
                for problem in snapshot.problems[:SHOWN_ROWS]
            ]
        )
    return metadata
