"""Jobs by which a person steers productions from the Launchpad: one file a job, and each a function of the pipeline.

A further one is a function ``build(runtime, executor) -> dg.JobDefinition`` in a file of its own, and its name in ``BUILDERS`` below
and in ``PipelineNames.control_jobs``.
"""

from collections.abc import Callable

import dagster as dg

from sora_pipeline.automation.control import budget, cancel, pause, prompt, retry
from sora_pipeline.runtime import PipelineRuntime

BUILDERS: tuple[Callable[[PipelineRuntime, dg.ExecutorDefinition], dg.JobDefinition], ...] = (
    budget.build,
    retry.build,
    prompt.build,
    pause.build_pause,
    pause.build_resume,
    cancel.build,
)


def build_control_jobs(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> list[dg.JobDefinition]:
    """The jobs of a pipeline that people launch, and no sensor does."""
    return [build(runtime, executor) for build in BUILDERS]
