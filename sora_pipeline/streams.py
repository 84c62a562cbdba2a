"""Sequences that are made anew each time they are gone through, so that no more of them is in memory than a stretch."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")
Other = TypeVar("Other")

STRETCH = 4096
"""How many items are held at a time."""
HEAVIEST = 16 * 2**20
"""How many characters or bytes, where single items may have very many."""


class Streamed(Sequence[Item], Generic[Item]):
    """A sequence whose items come from somewhere else, in order, whenever somebody asks for them.

    One item, and a slice, cost as much as going through all that stands before them.

    Args:
        length: How many items there are.
        iterate: Begins at the first.
    """

    def __init__(self, length: int, iterate: Callable[[], Iterator[Item]]) -> None:
        self._length = length
        self._iterate = iterate

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Item]:
        return self._iterate()

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...
    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        if isinstance(index, int):
            return next(itertools.islice(self, range(self._length)[index], None))
        places = range(self._length)[index]
        if places.step < 0:
            return self[places[-1] : places[0] + 1 : -places.step][::-1] if places else ()
        return tuple(itertools.islice(self, places.start, places.stop, places.step))

    def __eq__(self, other: object) -> bool:
        """Whether the other sequence, of whichever kind, has the same items."""
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(one == its for one, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._length:,} streamed items>"

    def mapped(self, change: Callable[[Item], Other]) -> "Streamed[Other]":
        """The same sequence with each item changed when it is asked for."""
        return Streamed(self._length, lambda: map(change, self))


def stretches(
    items: Iterable[Item],
    most: int | None = None,
    *,
    weigh: Callable[[Item], int] | None = None,
    heaviest: int = HEAVIEST,
) -> Iterator[list[Item]]:
    """The items in lists of some thousand, or of fewer where these weigh enough together.

    Args:
        items: In order.
        most: How many a list has; None: the usual number.
        weigh: How many characters or bytes an item holds, where single ones may hold very many.
        heaviest: How many of them a list has, give or take the last item.
    """
    iterator, most = iter(items), STRETCH if most is None else most
    if weigh is None:
        while stretch := list(itertools.islice(iterator, most)):
            yield stretch
        return
    stretch, weight = [], 0
    for item in iterator:
        stretch.append(item)
        weight += weigh(item)
        if len(stretch) == most or weight >= heaviest:
            yield stretch
            stretch, weight = [], 0
    if stretch:
        yield stretch


def in_stretches(change: Callable[[list[Item]], Iterable[Other]], items: Sequence[Item]) -> Streamed[Other]:
    """A sequence of which a whole stretch is changed at a time, each item into one."""
    return Streamed(len(items), lambda: itertools.chain.from_iterable(map(change, stretches(items))))
