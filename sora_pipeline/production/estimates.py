"""What a manifest's clips would cost, by the catalogue, and how much of that is still to be paid."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.admission.costs import cost_usd
from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Ledger
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.streams import stretches


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a manifest's clips would cost, by the catalogue.

    Attributes:
        total_usd: All valid clips.
        prices: The different costs that there are, in US dollars.
        prices_to_pay: Which of these each clip costs that is not delivered or in flight already, in the manifest's order.
    """

    total_usd: Decimal
    prices: Sequence[Decimal]
    prices_to_pay: Sequence[int]

    @property
    def to_pay_usd(self) -> Decimal:
        """What is still to be paid."""
        return sum((self.prices[price] for price in self.prices_to_pay), Decimal(0))

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


def estimate(clips: Sequence[Clip], ledger: Ledger, production_id: str, catalogue: Catalogue) -> Estimate:
    """What a production's clips cost, and how much of that is still to be paid."""
    prices: list[Decimal] = []
    price_of: dict[tuple[str, int, Size], int] = {}
    total, to_pay = Decimal(0), array("H")
    begun = ledger.clips.has_attempts(production_id)
    for stretch in stretches(clips):
        as_asked = ledger.clips.begun_as_asked(production_id, stretch) if begun else set()
        for clip in stretch:
            kind = (clip.model, clip.duration, clip.size)
            price = price_of.get(kind)
            if price is None:
                price = price_of[kind] = len(prices)
                prices.append(cost_usd(clip, catalogue))
            total += prices[price]
            if clip.clip_id not in as_asked:
                to_pay.append(price)
    return Estimate(total, prices, to_pay)
