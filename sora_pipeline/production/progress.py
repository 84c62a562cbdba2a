"""How far a production is, from the ledger alone: what people watch, and what decides when a command is done."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.types import MICROS, AttemptState
from sora_pipeline.production.costs import cost_micros
from sora_pipeline.production.stopping import stop_sentence
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a production is.

    Attributes:
        production: The production.
        clips: How many clips its manifest wants.
        counts: Clips by what they are at: delivered, rendering, fetching, submitting, pending, failed, ambiguous.
        committed_usd: US dollars billed or reserved so far.
        published: Whether the output manifest shows all of this.
        stopped: Why nothing more is submitted although clips are pending, and what to do; None while all is well.
    """

    production: Production
    clips: int
    counts: Counter[str]
    committed_usd: Decimal
    published: bool
    stopped: str | None

    @property
    def working(self) -> int:
        """Clips that the provider or a run is busy with."""
        return self.counts["rendering"] + self.counts["fetching"] + self.counts["submitting"]

    @property
    def settled(self) -> bool:
        """Whether nothing changes any more unless somebody does something."""
        return not self.working and (not self.counts["pending"] or self.stopped is not None)


_WORDS = {
    AttemptState.RESERVED: "submitting",
    AttemptState.SUBMITTING: "submitting",
    AttemptState.IN_FLIGHT: "rendering",
    AttemptState.SUCCEEDED: "fetching",
    AttemptState.AMBIGUOUS: "ambiguous",
    AttemptState.TIMED_OUT: "failed",
}


def progress_of(ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue) -> Progress:
    """Look at the ledger once."""
    standings = ledger.clips.standings_of(production.production_id)
    counts: Counter[str] = Counter()
    cheapest: int | None = None
    for standing in standings.values():
        latest = standing.latest
        if latest is not None and latest.live:
            given_up = latest.state is AttemptState.SUCCEEDED and latest.reported_at is not None
            counts["failed" if given_up else _WORDS[latest.state]] += 1
        elif standing.delivered:
            counts["delivered"] += 1
        elif standing.pending(settings.max_attempts):
            counts["pending"] += 1
            cost = cost_micros(standing.clip, catalogue)
            cheapest = cost if cheapest is None else min(cheapest, cost)
        else:
            counts["failed"] += 1
    committed = ledger.money.of_production(production.production_id).committed_usd
    return Progress(
        production=production,
        clips=len(standings),
        counts=counts,
        committed_usd=committed,
        published=production.published_seq >= production.change_seq,
        stopped=_stopped(ledger, production, settings, committed, cheapest),
    )


def _stopped(
    ledger: Ledger, production: Production, settings: Settings, committed: Decimal, cheapest: int | None
) -> str | None:
    if cheapest is None:
        return None
    if (breaker := ledger.breakers.get(settings.provider)) is not None:
        return stop_sentence(breaker)
    budget = production.budget_usd
    if budget is not None and committed + Decimal(cheapest) / MICROS > budget:
        return (
            f"the budget of {budget} USD is used up ({committed:.2f} USD billed or reserved); "
            "raise it (--budget or SORA_BUDGET_USD) and run again"
        )
    return None
