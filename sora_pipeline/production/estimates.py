"""What a manifest's clips would cost, by the catalogue, and how much of that is still to be paid."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.admission.costs import cost_usd
from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Ledger
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.status import CANCELLED, ClipStatus
from sora_pipeline.streams import stretches


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a manifest's clips would cost, by the catalogue.

    Attributes:
        total_usd: All valid clips.
        prices: The different costs that there are, in US dollars.
        prices_to_pay: Which of these each clip costs that is pending, or not asked for so far, in the manifest's order.
        prices_of_failed: The same of clips that have failed, and are made only where somebody asks for it.
        prices_of_cancelled: The same of clips that a person cancelled.
    """

    total_usd: Decimal
    prices: Sequence[Decimal]
    prices_to_pay: Sequence[int]
    prices_of_failed: Sequence[int] = ()
    prices_of_cancelled: Sequence[int] = ()

    @property
    def to_pay_usd(self) -> Decimal:
        """What is still to be paid."""
        return self._together(self.prices_to_pay)

    @property
    def failed_usd(self) -> Decimal:
        """What clips that have failed cost, should somebody have them made again."""
        return self._together(self.prices_of_failed)

    @property
    def cancelled_usd(self) -> Decimal:
        """What clips that were cancelled cost, should somebody have them made after all."""
        return self._together(self.prices_of_cancelled)

    @property
    def clips_to_pay(self) -> int:
        """How many clips are still to be paid."""
        return len(self.prices_to_pay)

    def fitting(self, *left: Decimal | None) -> int:
        """How many of the clips to pay fit amounts of US dollars that are left; None: no limit."""
        limits = [amount for amount in left if amount is not None]
        if not limits:
            return self.clips_to_pay
        fits, rest = 0, min(limits)
        for price in self.prices_to_pay:
            cost = self.prices[price]
            if cost <= rest:
                fits, rest = fits + 1, rest - cost
        return fits

    def _together(self, these: Iterable[int]) -> Decimal:
        return sum((self.prices[price] for price in these), Decimal(0))


def estimate(
    clips: Sequence[Clip], ledger: Ledger, production_id: str, catalogue: Catalogue, max_attempts: int
) -> Estimate:
    """What a production's clips cost, and how much of that is still to be paid.

    Args:
        clips: All valid clips.
        ledger: The ledger.
        production_id: The production; the ledger need not know it.
        catalogue: Models and prices.
        max_attempts: Attempts a clip may have by itself; what has none left is paid for only where somebody asks.
    """
    prices: list[Decimal] = []
    price_of: dict[tuple[str, int, Size], int] = {}
    total, to_pay, failed, cancelled = Decimal(0), array("H"), array("H"), array("H")
    begun = ledger.clips.has_attempts(production_id)
    known = (
        begun or ledger.clips.counts(production_id, max_attempts).failed
    )  # cancelled before anything was begun
    for stretch in stretches(clips):
        as_asked = ledger.clips.begun_as_asked(production_id, stretch) if begun else set()
        ended = ledger.clips.ended_as_asked(production_id, stretch, max_attempts) if known else {}
        for clip in stretch:
            kind = (clip.model, clip.duration, clip.size)
            price = price_of.get(kind)
            if price is None:
                price = price_of[kind] = len(prices)
                prices.append(cost_usd(clip, catalogue))
            total += prices[price]
            if clip.clip_id not in as_asked:
                asked_for = {ClipStatus.FAILED: failed, CANCELLED: cancelled}
                asked_for.get(ended.get(clip.clip_id, ""), to_pay).append(price)
    return Estimate(total, prices, to_pay, failed, cancelled)
