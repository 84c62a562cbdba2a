"""The ids under which rows that cannot be used are reported."""

import itertools
import re
from collections.abc import Iterator, Sequence

from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.streams import Streamed

_DERIVED = re.compile(r"row-[0-9a-f]{8}(?:-[0-9]+)?")
"""What is derived for a row that has no id."""


def invalid_ids(snapshot: Snapshot) -> Sequence[tuple[InvalidRow, str]]:
    """The invalid rows with the ids they are reported under: their own, or one derived from the row's content.

    Not from where it stands: rows that are inserted above do not make it another row, whose mended one would be paid again.
    """
    if all(bad.clip_id is not None for bad in snapshot.invalid):
        taken = frozenset[str]()
    else:
        own = itertools.chain(
            (clip.clip_id for clip in snapshot.clips),
            (bad.clip_id for bad in snapshot.invalid if bad.clip_id),
        )
        taken = frozenset(filter(_DERIVED.fullmatch, map(str.lower, own)))
    return Streamed(len(snapshot.invalid), lambda: _named(snapshot.invalid, taken))


def _named(invalid: Sequence[InvalidRow], own: frozenset[str]) -> Iterator[tuple[InvalidRow, str]]:
    taken = set(own)
    for bad in invalid:
        name = bad.clip_id
        if name is None:
            derived = f"row-{bad.row_hash[:8]}"
            numbered = (f"{derived}-{number}" for number in itertools.count(2))
            name = next(
                candidate for candidate in itertools.chain([derived], numbered) if candidate not in taken
            )
            taken.add(name)
        yield bad, name
