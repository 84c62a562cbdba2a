"""How many there are of something, which, and what it costs, in words."""

from collections.abc import Sequence
from decimal import Decimal


def counted(count: int, one: str, several: str = "") -> str:
    """``1 clip is``, ``2 clips are``.

    Args:
        count: How many.
        one: What is said of one of them.
        several: What is said of any other number; without, the first with an s.
    """
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def listed(names: Sequence[str], most: int = 10, *, between: str = ", ") -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{between.join(names[:most])}{more}"


def usd(amount: Decimal | float, *, simulated: bool) -> str:
    """``1.20 USD``, or ``1.20 sandbox USD`` where nobody is billed."""
    return f"{amount:.2f} {currency(simulated=simulated)}"


def currency(*, simulated: bool) -> str:
    """What amounts are in; dollars of the emulator are pretended."""
    return "sandbox USD" if simulated else "USD"
