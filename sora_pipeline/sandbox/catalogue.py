"""What the sandbox's models can do and what they cost: data, the same in every wire format."""

from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.sandbox.size import Size

_P720 = (Size(720, 1280), Size(1280, 720))
_P1024 = (Size(1024, 1792), Size(1792, 1024))
_P1080 = (Size(1080, 1920), Size(1920, 1080))


@dataclass(frozen=True, slots=True)
class Model:
    """One model's limits and prices.

    Attributes:
        vendor: The first half of its slug, and of its path in the native format.
        durations: Seconds a clip may last; the first is what a submit without any gets.
        usd_per_second: Price by frame size; a size that is not here is not offered.
        reads_size: Whether it takes a frame size; others take resolution and aspect ratio only, and pass a size over.
    """

    vendor: str
    name: str
    durations: tuple[int, ...]
    usd_per_second: dict[Size, Decimal]
    reads_size: bool = True

    @property
    def slug(self) -> str:
        """As the unified format names it."""
        return f"{self.vendor}/{self.name}"

    def cost(self, size: Size, duration: int) -> Decimal:
        """Price of one clip in US dollars."""
        return self.usd_per_second[size] * duration


def _prices(p720: str, p1080: str | None = None, p1024: str | None = None) -> dict[Size, Decimal]:
    groups = ((_P720, p720), (_P1024, p1024), (_P1080, p1080))
    return {size: Decimal(price) for sizes, price in groups if price for size in sizes}


MODELS = {
    model.name: model
    for model in (
        Model("openai", "sora-2", (4, 8, 12), _prices("0.10")),
        Model("openai", "sora-2-pro", (4, 8, 12), _prices("0.30", "0.70", p1024="0.50")),
        Model(
            "alibaba",
            "wan-2.6",
            (5, 10, 15),
            {
                **_prices("0.09", "0.135"),
                Size(960, 960): Decimal("0.09"),
                Size(1440, 1440): Decimal("0.135"),
            },
        ),
        Model("vidu", "viduq3-pro", (5, *range(1, 5), *range(6, 17)), _prices("0.10", "0.12")),
        Model(
            "doubao",
            "dreamina-seedance-2-0-260128",
            (5, 4, *range(6, 16)),
            _prices("0.16632", "0.411642"),
            reads_size=False,
        ),
    )
}
SLUGS = {model.slug: model for model in MODELS.values()}
DEFAULT_SIZE = Size(720, 1280)
