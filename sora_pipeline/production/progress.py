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
        trouble: What holds up submits at the moment although they are tried again by themselves; None while all is well.
        published: Whether the output manifest shows all of this.
        stopped: Why nothing more is submitted although clips are pending, and what to do; None while all is well.
    """

    production: Production
    clips: int
    counts: Counter[str]
    spending: Spending
    trouble: str | None
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
    found = ledger.clips.counts(production.production_id, settings.max_attempts)
    counts = Counter(delivered=found.delivered, pending=found.pending, failed=found.failed)
    for (state, reported), clips in found.live.items():
        given_up = state is AttemptState.SUCCEEDED and reported
        counts["failed" if given_up else _WORDS[state]] += clips
    hold = hold_of_all(ledger, production, settings, catalogue) if counts["pending"] else None
    refused = ledger.attempts.trouble(production.production_id) if counts["submitting"] else None
    return Progress(
        production=production,
        clips=found.clips,
        counts=+counts,
        spending=ledger.money.of_production(production.production_id),
        trouble=None if refused is None else f"{refused.error_kind}: {refused.error_message}",
        published=production.published_seq >= production.change_seq,
        stopped=None if hold is None else hold.sentence,
    )
