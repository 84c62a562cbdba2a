"""What commands say about money: before a production, while it works, and after it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.estimates import Estimate
    from sora_pipeline.production.naming import Decided
    from sora_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a manifest will cost, and what budgets leave for it.

    Attributes:
        costs: The estimate.
        budget_usd: What the production may cost; None: no limit.
        daily_usd: What a day may cost; None: no limit.
        committed_usd: What the production has spent or reserved.
        today_usd: What today has spent or reserved at the account, all productions together.
    """

    costs: "Estimate"
    budget_usd: Decimal | None
    daily_usd: Decimal | None
    committed_usd: Decimal
    today_usd: Decimal

    @classmethod
    def of(
        cls,
        ledger: "Ledger",
        settings: "Settings",
        costs: "Estimate",
        *,
        decided: "Decided",
    ) -> "Outlook":
        """Look at the ledger."""
        production, plan = decided.known, decided.plan
        kept = production is not None and production.budget_given and not plan.budget_given
        budget_usd = (
            production.budget_usd if production and (kept or plan.budget_usd is None) else plan.budget_usd
        )
        committed = ledger.money.of_production(production.production_id).committed_usd if production else None
        return cls(
            costs=costs,
            budget_usd=budget_usd,
            daily_usd=settings.budget_daily_usd,
            committed_usd=committed or Decimal(0),
            today_usd=ledger.money.of_today(settings.account_name).committed_usd,
        )

    @property
    def fitting(self) -> int:
        """How many of the clips to pay the budgets allow."""
        return self.costs.fitting(
            None if self.budget_usd is None else self.budget_usd - self.committed_usd,
            None if self.daily_usd is None else self.daily_usd - self.today_usd,
        )

    @property
    def sentences(self) -> list[str]:
        """For people."""
        costs = self.costs
        lines = [
            f"they cost {costs.total_usd:.2f} USD; {costs.to_pay_usd:.2f} USD of that is still to pay "
            f"({costs.clips_to_pay} clips)"
        ]
        if self.budget_usd is not None:
            lines.append(f"budget: {self.committed_usd:.2f} of {self.budget_usd:.2f} USD spent or reserved")
        if self.daily_usd is not None:
            lines.append(f"today (UTC): {self.today_usd:.2f} of {self.daily_usd:.2f} USD spent or reserved")
        if self.fitting < costs.clips_to_pay:
            lines.append(
                f"{self.fitting} of the {costs.clips_to_pay} clips to pay fit the budget; the others stay pending until "
                "it is raised (--budget, SORA_BUDGET_USD, SORA_BUDGET_DAILY_USD)"
            )
        return lines

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "estimate_usd": float(self.costs.total_usd),
            "still_to_pay_usd": float(self.costs.to_pay_usd),
            "clips_to_pay": self.costs.clips_to_pay,
            "clips_within_budget": self.fitting,
            "budget_usd": dollars(self.budget_usd),
            "budget_daily_usd": dollars(self.daily_usd),
            "committed_usd": float(self.committed_usd),
            "committed_today_usd": float(self.today_usd),
        }


def dollars(amount: Decimal | None) -> float | None:
    """For JSON."""
    return None if amount is None else float(amount)
