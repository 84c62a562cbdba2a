"""What the jobs that people launch have in common: one op, a small config, and one sentence where something is wrong."""

from collections.abc import Callable
from typing import Any

import dagster as dg
from sqlalchemy.exc import DBAPIError

from sora_pipeline.advice import explained
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.names import PipelineNames
from sora_pipeline.run_locks import run_lock
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.suggestions import did_you_mean

MOST_NAMES = 30
"""Names of productions that a sentence lists."""


class UnknownProductionError(SoraPipelineError):
    """Raised where it is not clear which production is meant; lists those that there are."""


def control_job(
    runtime: PipelineRuntime,
    executor: dg.ExecutorDefinition,
    what: str,
    description: str,
    config: type[dg.Config],
    work: Callable[[dg.OpExecutionContext, Any], None],
) -> dg.JobDefinition:
    """A job of one op.

    Args:
        runtime: Of the pipeline.
        executor: Of the pipeline's jobs.
        what: What it does, as its op is called; the job's name ends in ``_job``.
        description: For whoever opens it in the UI.
        config: What is to be said in the Launchpad; each field has a description, and a default, so that it is shown there.
        work: Does it.
    """
    names = runtime.names

    schema: Any = config.to_config_schema()  # which ops take, though their annotation does not say so
    decorate: Callable[[Callable[..., None]], dg.OpDefinition] = dg.op(
        name=names.of(what),
        description=description,
        config_schema=schema,
    )

    @decorate
    def op(context: dg.OpExecutionContext) -> None:
        try:
            # By hand, and not as a resource: the Launchpad would show that one's config, too.
            with run_lock(runtime.run_locks, context.run_id):
                work(context, config(**context.op_config))
        except SoraPipelineError as error:
            raise dg.Failure(explained(error), allow_retries=False) from None
        except DBAPIError as error:
            raise dg.Failure(f"the ledger cannot be used: {error.orig}", allow_retries=False) from None

    @dg.job(name=names.of(f"{what}_job"), description=description, executor_def=executor)
    def job() -> None:
        op()

    return job


def production_named(ledger: Ledger, names: PipelineNames, name: str) -> Production:
    """A pipeline's production of this name; where it has but one, that needs no name.

    Raises:
        UnknownProductionError: there is none, or several and no name is given.
    """
    own = {production.production_id: production for production in ledger.productions.all(names.name)}
    wanted = name.strip()
    if wanted in own:
        return own[wanted]
    if not own:
        raise UnknownProductionError("no manifest was read so far, so there is no production")
    if not wanted and len(own) == 1:
        return next(iter(own.values()))
    listed = ", ".join(sorted(own)[:MOST_NAMES]) + (" …" if len(own) > MOST_NAMES else "")
    if not wanted:
        raise UnknownProductionError(f"say which production is meant: {listed}")
    raise UnknownProductionError(
        f"there is no production {wanted!r}; there are {listed}.{did_you_mean(wanted, own)}"
    )
