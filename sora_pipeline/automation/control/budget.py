"""``set_budget_job``: what a production may cost, until another amount is given."""

from decimal import Decimal
from functools import partial

import dagster as dg
from pydantic import Field

from sora_pipeline.admission.budgets import NO_LIMIT, limit_of
from sora_pipeline.amounts import usd
from sora_pipeline.automation.control.jobs import control_job, production_named
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.runtime import PipelineRuntime


class BudgetError(SoraPipelineError):
    """Raised where an amount is none."""


class BudgetConfig(dg.Config):
    """What is said in the Launchpad."""

    production: str = Field(
        default="", description="The production's name. Empty: the only one that there is."
    )
    usd: str = Field(
        default="",
        description=f"US dollars that the production may cost in all, such as '25' or '12.50'; '{NO_LIMIT}': no limit.",
    )


def build(runtime: PipelineRuntime, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    """The job of a pipeline that sets a production's budget."""

    def set_budget(context: dg.OpExecutionContext, config: BudgetConfig) -> None:
        ledger = runtime.ledger
        limit = _amount(config.usd)
        production = production_named(ledger, runtime.names, config.production)
        ledger.productions.set_budget(production.production_id, limit)
        context.log.info(_said(ledger, production, limit))

    description = (
        "Set what a production may cost. Clips that wait for money go on within seconds when it is raised; nothing that is "
        "under way is stopped when it is lowered."
    )
    return control_job(runtime, executor, "set_budget", description, BudgetConfig, set_budget)


def _amount(text: str) -> Decimal | None:
    """US dollars, or None for no limit.

    Raises:
        BudgetError: it is neither.
    """
    try:
        return limit_of(text.strip())
    except ValueError as error:
        raise BudgetError(f"usd: {error}, and not {NO_LIMIT!r} for no limit") from None


def _said(ledger: Ledger, before: Production, limit: Decimal | None) -> str:
    spending = ledger.money.of_production(before.production_id)
    in_words = partial(usd, simulated=before.simulated)
    was = "no limit" if before.budget_usd is None else in_words(before.budget_usd)
    now = "no limit" if limit is None else in_words(limit)
    return f"{before.production_id} may cost {now} (it was {was}); {in_words(spending.committed_usd)} is spent or reserved"
