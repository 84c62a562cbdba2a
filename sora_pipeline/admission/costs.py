"""What a clip costs by the catalogue: in dollars for people, in millionths of a dollar for the ledger."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from sora_pipeline.clip import Size
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.provider.catalogue import Catalogue


class Priced(Protocol):
    """What decides a price: a clip, or what is known of a pending one."""

    @property
    def model(self) -> str:
        """The provider's model name."""
        ...

    @property
    def duration(self) -> int:
        """Seconds."""
        ...

    @property
    def size(self) -> Size:
        """Pixels."""
        ...


def cost_usd(clip: Priced, catalogue: Catalogue) -> Decimal:
    """US dollars, exact.

    Raises:
        UnknownModelError: the catalogue has no such model.
    """
    return catalogue.model(clip.model).cost(clip.duration, clip.size)


def known_cost_usd(clips: Iterable[Priced], catalogue: Catalogue) -> Decimal:
    """US dollars that clips cost together; those of a model that the catalogue has no more count for nothing."""
    known = (clip for clip in clips if catalogue.find(clip.model) is not None)
    return sum((cost_usd(clip, catalogue) for clip in known), Decimal(0))


def cost_micros(clip: Priced, catalogue: Catalogue) -> int:
    """Millionths of a US dollar.

    Raises:
        UnknownModelError: the catalogue has no such model.
    """
    return int(cost_usd(clip, catalogue) * MICROS)
