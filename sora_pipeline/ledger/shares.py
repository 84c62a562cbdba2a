"""How an account's slots are divided among productions that want them, as a pure function."""

from collections.abc import Mapping


def fair_shares(slots: int, demands: Mapping[str, int]) -> dict[str, int]:
    """The most slots that each may take: all alike, and what one does not need goes to the others.

    Args:
        slots: How many there are.
        demands: What each takes and would like to take, together.

    Returns:
        By the same keys. The shares come to ``slots`` where the demands come to that much, else each gets its demand.
    """
    shares: dict[str, int] = {}
    left = max(slots, 0)
    for done, (key, demand) in enumerate(sorted(demands.items(), key=lambda item: (item[1], item[0]))):
        share = min(demand, -(-left // (len(demands) - done)))
        shares[key] = share
        left -= share
    return shares
