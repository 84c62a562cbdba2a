"""Why a pending clip is not submitted: a budget that its cost no longer fits, or submits that are stopped."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.production.costs import cost_micros
from sora_pipeline.production.stopping import stop_sentence
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings

BUDGET, DAILY_BUDGET = "budget", "daily_budget"


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps a pending clip from being submitted.

    Attributes:
        kind: In a word: ``budget``, ``daily_budget``, or the error kind that opened the breaker.
        sentence: For people, with what to do.
    """

    kind: str
    sentence: str


class Holds:
    """What stands in the way of a production's pending clips, as one look at the ledger found it.

    Args:
        ledger: The ledger.
        production: The production.
        settings: The settings: provider and daily budget.
    """

    def __init__(self, ledger: Ledger, production: Production, settings: Settings) -> None:
        breaker = ledger.breakers.get(settings.provider)
        self._stopped = None if breaker is None else Hold(breaker.kind, stop_sentence(breaker))
        self._budget, self._daily = production.budget_usd, settings.budget_daily_usd
        self._committed = self._today = Decimal(0)
        if self._budget is not None:
            self._committed = ledger.money.of_production(production.production_id).committed_usd
        if self._daily is not None:
            self._today = ledger.money.of_today(settings.provider).committed_usd

    @property
    def possible(self) -> bool:
        """Whether any clip could be held at all."""
        return self._stopped is not None or self._budget is not None or self._daily is not None

    def of(self, cost_micros: int) -> Hold | None:
        """What holds a pending clip of this cost; None: it only waits for a free slot."""
        if self._stopped is not None:
            return self._stopped
        cost = Decimal(cost_micros) / MICROS
        if self._budget is not None and self._committed + cost > self._budget:
            return Hold(
                BUDGET,
                f"{cost:.2f} USD more do not fit the production's budget: {self._committed:.2f} of {self._budget:.2f} USD "
                "are spent or reserved. Raise it (--budget or SORA_BUDGET_USD) and run again",
            )
        if self._daily is not None and self._today + cost > self._daily:
            return Hold(
                DAILY_BUDGET,
                f"{cost:.2f} USD more do not fit the day's budget: {self._today:.2f} of {self._daily:.2f} USD are spent or "
                "reserved today. It goes on after midnight UTC, or when SORA_BUDGET_DAILY_USD is raised",
            )
        return None


def hold_of_all(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Hold | None:
    """What holds every pending clip of a production; None: some clip can go on, or none is pending."""
    holds = Holds(ledger, production, settings)
    if not holds.possible:
        return None
    hold: Hold | None = None
    for cost in _pending_costs(ledger, production, settings, catalogue):
        if (hold := holds.of(cost)) is None:
            return None
    return hold


def still_to_pay_usd(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Decimal:
    """What the production's pending clips will cost."""
    return Decimal(sum(_pending_costs(ledger, production, settings, catalogue))) / MICROS


def _pending_costs(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Iterable[int]:
    pending = ledger.clips.pending(settings.max_attempts, production.production_id)
    for specs in ledger.clips.specs(pending):
        for clip in specs:
            yield cost_micros(clip, catalogue)
