"""The check ``finished``: whether a production has finished, and if not, how far it is and what keeps it.

A run that publishes a production evaluates it; one that only observes the manifest, and the publish sensor while a production goes
on, report what it would say as an event without a run.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from sora_pipeline.advice import explained
from sora_pipeline.names import FINISHED_CHECK, PRODUCTION_TAG, PipelineNames
from sora_pipeline.production.finish import read_finish
from sora_pipeline.production.progress import Progress, progress_of
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.store import OutputStore


def build_finished(runtime: PipelineRuntime) -> dg.AssetChecksDefinition:
    """The check of a pipeline's output manifest that says whether a production has finished."""
    names = runtime.names

    @dg.asset_check(
        asset=names.video_manifest,
        name=FINISHED_CHECK,
        description="Every clip has come to an end: it is delivered, has failed, or waits for a person's word.",
        required_resource_keys={names.run_lock},
    )
    def finished(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """The production that was just published, or else the one published last."""
        published = [each for each in runtime.ledger.productions.all(names.name) if each.published_at]
        wanted = context.run.tags.get(PRODUCTION_TAG)
        chosen = [each for each in published if each.production_id == wanted] or published
        if not chosen:
            raise dg.Failure(
                "no output manifest was published so far; materialize video_manifest first",
                allow_retries=False,
            )
        production = max(chosen, key=lambda each: str(each.published_at))
        return dg.AssetCheckResult(
            **_said(progress_of(runtime.ledger, production, runtime.settings, runtime.catalogue))
        )

    return finished


def finished_evaluation(names: PipelineNames, progress: Progress) -> dg.AssetCheckEvaluation:
    """What the check says, for whoever reports it without a run."""
    return dg.AssetCheckEvaluation(
        asset_key=names.video_manifest, check_name=FINISHED_CHECK, **_said(progress)
    )


def _said(progress: Progress) -> Mapping[str, Any]:
    production = progress.production
    counts = {str(status): count for status, count in sorted(progress.counts.items())}
    told = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items()) or "no clips"
    if progress.finished:
        sentence = f"{production.production_id} has finished: {told}"
    elif progress.stopped is not None and progress.settled:
        sentence = f"{production.production_id} is stopped: {told}. {explained(progress.stopped)}"
    else:
        sentence = f"{production.production_id} goes on: {told}"
    finish = read_finish(OutputStore(production.output_uri)) if progress.finished else None
    since = {} if finish is None else {"finished_at": dg.MetadataValue.timestamp(finish.finished_at)}
    return {
        "passed": progress.finished,
        "severity": dg.AssetCheckSeverity.WARN,
        "description": sentence,
        "metadata": {
            "production": production.production_id,
            "clips": progress.clips,
            **{f"clips_{status}": count for status, count in counts.items()},
            "spent_usd": float(progress.spending.spent_usd),
            **since,
        },
    }
