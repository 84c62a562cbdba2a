"""``pause_job`` and ``resume_job``: submits for a production, or to the pipeline's account, stop and go on."""

import dagster as dg
from pydantic import Field

from sora_pipeline.automation.control.jobs import control_job, production_named
from sora_pipeline.runtime import PipelineRuntime


class PauseConfig(dg.Config):
    """What is said in the Launchpad."""

    production: str = Field(
        default="", description="The production's name. Empty: the only one that there is."
    )
    account: bool = Field(
        default=False, description="Rather the whole account of this pipeline, with all its productions."
    )


def build_pause(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job of a pipeline that pauses."""

    def pause(context: dg.OpExecutionContext, config: PauseConfig) -> None:
        what = _what(runtime, config)
        paused = runtime.ledger.paused
        (paused.pause_account if config.account else paused.pause_production)(what)
        context.log.info(
            f"{what} is paused until {runtime.names.of('resume_job')} is run; what was submitted is fetched all the same"
        )

    description = (
        "Submit nothing further for a production, or to the whole account, until resume_job. What renders is paid for, and is fetched "
        "all the same."
    )
    return control_job(runtime, executor, "pause", description, PauseConfig, pause)


def build_resume(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job of a pipeline that lets submits go on."""

    def resume(context: dg.OpExecutionContext, config: PauseConfig) -> None:
        what, ledger = _what(runtime, config), runtime.ledger
        if config.account:
            goes_on = ledger.paused.resume_account(what) | ledger.breakers.close(what)
        else:
            goes_on = ledger.paused.resume_production(what)
        context.log.info(f"submits for {what} go on" if goes_on else f"{what} was not paused")

    description = (
        "Let submits go on that pause_job stopped; with account also those that a bad key, an empty balance or refusals in a row have "
        "stopped."
    )
    return control_job(runtime, executor, "resume", description, PauseConfig, resume)


def _what(runtime: PipelineRuntime, config: PauseConfig) -> str:
    if config.account:
        return runtime.account.name
    return production_named(runtime.ledger, runtime.names, config.production).production_id
