"""How far a production is, from the ledger alone: what people watch, and what decides when a command is done."""

from collections import Counter
from dataclasses import dataclass

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.spending import Spending
from sora_pipeline.ledger.types import AttemptState
from sora_pipeline.production.holding import hold_of_all
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a production is.

    Attributes:
        production: The production.
        clips: How many clips its manifest wants.
        counts: Clips by what they are at: delivered, rendering, fetching, submitting, pending, failed, ambiguous.
        spending: US dollars billed, and reserved, so far.
        published: Whether the output manifest shows all of this.
        stopped: Why nothing more is submitted although clips are pending, and what to do; None while all is well.
    """

    production: Production
    clips: int
    counts: Counter[str]
    spending: Spending
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
    for standing in standings.values():
        latest = standing.latest
        if latest is not None and latest.live:
            given_up = latest.state is AttemptState.SUCCEEDED and latest.reported_at is not None
            counts["failed" if given_up else _WORDS[latest.state]] += 1
        elif standing.delivered:
            counts["delivered"] += 1
        elif standing.pending(settings.max_attempts):
            counts["pending"] += 1
        else:
            counts["failed"] += 1
    hold = hold_of_all(ledger, production, settings, catalogue) if counts["pending"] else None
    return Progress(
        production=production,
        clips=len(standings),
        counts=counts,
        spending=ledger.money.of_production(production.production_id),
        published=production.published_seq >= production.change_seq,
        stopped=None if hold is None else hold.sentence,
    )
