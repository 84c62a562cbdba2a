"""``retry_job``: failed clips once more, those named or all."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from pydantic import Field

from sora_pipeline.admission.costs import known_cost_usd
from sora_pipeline.amounts import usd
from sora_pipeline.automation.control.jobs import control_job, production_named
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Attempt, Ledger
from sora_pipeline.production.decisions import Said
from sora_pipeline.production.retrying import AmbiguousClipError, Retried, UnknownKindError, retry_clips
from sora_pipeline.production.stuck import ask_again
from sora_pipeline.runtime import PipelineRuntime


class RetryError(SoraPipelineError):
    """Raised where nothing is meant by what was said."""


class RetryConfig(dg.Config):
    """What is said in the Launchpad."""

    production: str = Field(
        default="", description="The production's name. Empty: every production of this pipeline."
    )
    clips: list[str] = Field(
        default=[], description="Clip ids, such as ['001', '002']. Empty: every clip that failed."
    )
    kind: str = Field(
        default="",
        description="Only clips that failed so: the error_kind of metadata.parquet, or letters of it: 'policy', 'image', 'cancelled'.",
    )
    give_up: bool = Field(
        default=False,
        description="With clips: rather pay for another than wait for a prediction that the provider still renders.",
    )


def build(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job of a pipeline that has failed clips tried again."""

    def retry(context: dg.OpExecutionContext, config: RetryConfig) -> None:
        ledger, settings = runtime.ledger, runtime.settings
        productions = _productions(ledger, runtime, config.production)
        if config.give_up and not config.clips:
            raise RetryError("give_up: say in clips which are to be given up")

        def ask(attempts: Sequence[Attempt]) -> Mapping[int, Said]:
            return asyncio.run(_asked(runtime, context, attempts)) if attempts else {}

        try:
            retried = retry_clips(
                ledger,
                settings,
                productions,
                config.clips,
                kind=config.kind.strip(),
                ask=ask,
                give_up=config.give_up,
            )
        except AmbiguousClipError as error:
            raise RetryError(f"clips: {error}; say which in production") from None
        except UnknownKindError as error:
            raise RetryError(f"kind: {error}") from None
        if retried.unknown:
            raise RetryError(
                f"clips: {', '.join(retried.unknown)} is no clip of {', '.join(productions)}; metadata.parquet lists them"
            )
        for sentence in _sentences(runtime, retried):
            context.log.info(sentence)

    description = (
        "Try failed clips again. A video that is rendered is fetched for nothing; what is submitted again costs again, within the "
        "budget. Clips that may have been billed without an answer go again only where they are named."
    )
    return control_job(runtime, executor, "retry", description, RetryConfig, retry)


def _productions(ledger: Ledger, runtime: PipelineRuntime, name: str) -> list[str]:
    if name.strip():
        return [production_named(ledger, runtime.names, name).production_id]
    return [production.production_id for production in ledger.productions.all(runtime.names.name)]


async def _asked(
    runtime: PipelineRuntime, context: dg.OpExecutionContext, attempts: Sequence[Attempt]
) -> Mapping[int, Said]:
    async with runtime.open(context.run_id, context.log.info) as run_context:
        return await ask_again(run_context, attempts)


def _sentences(runtime: PipelineRuntime, retried: Retried) -> Iterator[str]:
    if retried.anew:
        standings = runtime.ledger.clips.standings(retried.anew)
        price = known_cost_usd((standing.clip for standing in standings.values()), runtime.catalogue)
        yield f"{retried.submitted}, for {usd(price, simulated=runtime.account.simulated)}: {', '.join(retried.anew)}"
    if retried.fetched:
        yield f"fetched again, for nothing: {', '.join(retried.fetched)}"
    if retried.held:
        yield f"held, since they may have been billed; name them in clips to pay for others: {', '.join(retried.held)}"
    for key, account in retried.elsewhere.items():
        yield f"{key} is held: it was submitted to the account {account}, which is not this pipeline's now"
    if retried.cancelled:
        yield f"cancelled, and stay so; say kind 'cancelled' to have them made after all: {', '.join(retried.cancelled)}"
    if retried.fine:
        yield f"need no retry (delivered, pending or under way): {', '.join(retried.fine)}"
    if not (retried.anew or retried.fetched):
        yield "nothing to retry"
