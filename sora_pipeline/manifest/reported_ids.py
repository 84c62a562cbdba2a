"""The ids under which rows are reported that cannot be made: their own, or ones derived from what they say.

Not from where they stand: rows that are inserted above do not make it another row, whose mended one would be paid again.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot

_HASH_CHARS = 8
_DERIVED_CHARS = len("row-") + _HASH_CHARS


class InvalidIds:
    """The invalid rows of a snapshot with their ids, in the snapshot's order, as often as they are gone through.

    Of all the other ids only those are kept that a derived one could be.

    Args:
        snapshot: Whose rows; read at once where a row has no id of its own, and again whenever this is gone through.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._invalid = snapshot.invalid
        hashes = (int(_hash(bad), 16) for bad in snapshot.invalid if bad.clip_id is None)
        self._hashes = array("L", sorted(array("L", hashes)))
        self._taken: set[str] = set()
        if self._hashes:
            own = (bad.clip_id for bad in snapshot.invalid if bad.clip_id)
            self._taken.update(
                filter(self._may_be_derived, (clip.clip_id.lower() for clip in snapshot.clips))
            )
            self._taken.update(filter(self._may_be_derived, (clip_id.lower() for clip_id in own)))

    def __len__(self) -> int:
        return len(self._invalid)

    def __iter__(self) -> Iterator[tuple[InvalidRow, str]]:
        last: dict[str, int] = {}
        for bad in self._invalid:
            yield bad, self._derived(bad, last) if bad.clip_id is None else bad.clip_id

    def _derived(self, bad: InvalidRow, last: dict[str, int]) -> str:
        """The first id that is free; ``last`` has how many rows that say the same came before."""
        derived = f"row-{_hash(bad)}"
        number = last.get(derived, 0) + 1
        while (name := derived if number == 1 else f"{derived}-{number}") in self._taken:
            number += 1
        if self._derived_alike(derived) > 1:
            last[derived] = number
        return name

    def _may_be_derived(self, clip_id: str) -> bool:
        return clip_id.startswith("row-") and self._derived_alike(clip_id) > 0

    def _derived_alike(self, clip_id: str) -> int:
        """How many rows without an id say what this id may be derived from."""
        try:
            number = int(clip_id[len("row-") : _DERIVED_CHARS], 16)
        except ValueError:
            return 0
        return bisect_right(self._hashes, number) - bisect_left(self._hashes, number)


def invalid_ids(snapshot: Snapshot) -> InvalidIds:
    """The invalid rows with the ids they are reported under."""
    return InvalidIds(snapshot)


def _hash(bad: InvalidRow) -> str:
    return bad.row_hash[:_HASH_CHARS]
