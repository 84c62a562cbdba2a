"""What the provider's journal says of its slots: how many rendered when, and how many of those allowed that is."""

from collections.abc import Iterable, Sequence

Render = tuple[float, float]
"""When a clip was accepted and when it was rendered, in seconds since the command's start."""


def in_use(renders: Iterable[Render]) -> list[tuple[float, int]]:
    """How many clips render from each moment on: steps, the first of which is at 0."""
    changes = sorted([(begin, 1) for begin, _ in renders] + [(end, -1) for _, end in renders])
    steps, rendering = [(0.0, 0)], 0
    for moment, change in changes:
        rendering += change
        steps.append((moment, rendering))
    return steps


def share_in_use(renders: Sequence[Render], slots: int, begin: float, end: float) -> float | None:
    """Share of the slots that rendered on average between two moments; None where there is nothing between them."""
    if end <= begin:
        return None
    rendered = sum(max(min(stop, end) - max(start, begin), 0.0) for start, stop in renders)
    return rendered / (slots * (end - begin))
