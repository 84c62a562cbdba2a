"""What the sandbox's models can do and what they cost: data, the same in every wire format."""

from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.clip import Size

_P720 = (Size(720, 1280), Size(1280, 720))
_P1024 = (Size(1024, 1792), Size(1792, 1024))
_P1080 = (Size(1080, 1920), Size(1920, 1080))


@dataclass(frozen=True, slots=True)
class Model:
    """One model's limits and prices.

    Attributes:
        durations: Seconds a clip may last.
        usd_per_second: Price by frame size; a size that is not here is not offered.
    """

    name: str
    durations: tuple[int, ...]
    usd_per_second: dict[Size, Decimal]

    def cost(self, size: Size, duration: int) -> Decimal:
        """Price of one clip in US dollars."""
        return self.usd_per_second[size] * duration


MODELS = {
    model.name: model
    for model in (
        Model("sora-2", (4, 8, 12), dict.fromkeys(_P720, Decimal("0.10"))),
        Model(
            "sora-2-pro",
            (4, 8, 12),
            {
                **dict.fromkeys(_P720, Decimal("0.30")),
                **dict.fromkeys(_P1024, Decimal("0.50")),
                **dict.fromkeys(_P1080, Decimal("0.70")),
            },
        ),
    )
}
DEFAULT_SIZE = Size(720, 1280)
DEFAULT_DURATION = 4
