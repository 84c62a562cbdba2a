"""What a clip costs by the catalogue: in dollars for people, in millionths of a dollar for the ledger."""

from decimal import Decimal

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.provider.catalogue import Catalogue


def cost_usd(clip: Clip, catalogue: Catalogue) -> Decimal:
    """US dollars, exact."""
    return catalogue.model(clip.model).cost(clip.duration, clip.size)


def cost_micros(clip: Clip, catalogue: Catalogue) -> int:
    """Millionths of a US dollar."""
    return int(cost_usd(clip, catalogue) * MICROS)
