"""``cancel_job``: nothing further is submitted for a production, or for single clips of it."""

import dagster as dg
from pydantic import Field

from sora_pipeline.amounts import counted, usd
from sora_pipeline.automation.control.jobs import control_job, production_named
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.production.retrying import clips_named
from sora_pipeline.runtime import PipelineRuntime


class CancelError(SoraPipelineError):
    """Raised where it is not clear what is to be cancelled; nothing is."""


class CancelConfig(dg.Config):
    """What is said in the Launchpad."""

    production: str = Field(default="", description="The production's name.")
    clips: list[str] = Field(
        default=[],
        description="Clip ids, such as ['001', '002']. Empty: everything that the production still wants made.",
    )


def build(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job of a pipeline that cancels clips."""

    def cancel(context: dg.OpExecutionContext, config: CancelConfig) -> None:
        if not config.production.strip() and not config.clips:
            raise CancelError("say in production, or in clips, what is to be cancelled")
        ledger, names = runtime.ledger, runtime.names
        production_id = production_named(ledger, names, config.production).production_id
        keys, unknown = clips_named(ledger, [production_id], config.clips)
        if unknown:
            raise CancelError(
                f"clips: {', '.join(unknown)} is no clip of {production_id}; nothing was cancelled"
            )
        done = ledger.cancellations.cancel(
            production_id, runtime.settings.max_attempts, keys if config.clips else None
        )
        context.log.info(
            f"{production_id}: {counted(done.stopped, 'clip is', 'clips are')} cancelled; "
            f"{names.of('retry_job')} with kind 'cancelled' has them made after all"
        )
        if done.under_way:
            context.log.info(
                f"{production_id}: {counted(done.under_way, 'clip is', 'clips are')} at the provider already, and fetched: "
                f"{usd(done.under_way_usd, simulated=runtime.account.simulated)} is spent"
            )

    description = (
        "Submit nothing further for a production, or for single clips of it. What renders is paid for, and is fetched all the same; it is "
        "logged how many clips those are, and what they cost."
    )
    return control_job(runtime, executor, "cancel", description, CancelConfig, cancel)
