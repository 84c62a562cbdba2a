"""Rows that would share a clip id: which of them has a right to it, and what is said of the others.

Ids that differ only in case count as one, because they would share a folder on many file systems. A row that says what the manifest said
under that id before keeps it: its clip may be paid for. Where none does, nobody can tell which one is meant, and all of them are problems.
"""

from collections.abc import Callable, Collection, Iterable

from sora_pipeline.manifest.problems import RowProblem, shown
from sora_pipeline.manifest.rows import CheckedRow
from sora_pipeline.manifest.table import Places
from sora_pipeline.scratch import Scratch

_ALLOWED = (
    "an id of its own for each row, upper and lower case counting as the same; where several videos of one row are wanted, the row once, "
    "with takes=2 or more"
)


class Duplicates:
    """Ids that more than one row of a manifest has; kept outside of memory, since all of them may.

    Args:
        rows: The manifest's rows; gone through once, where ids may be repeated.
        repeated: What ``IdHashes`` found of the ids of all their takes.
        stands: Whether a row says, for one of its takes, what was said under that id before.
        places: Where people find rows.
    """

    def __init__(
        self,
        rows: Iterable[CheckedRow],
        repeated: Collection[int],
        stands: Callable[[CheckedRow, int, str], bool],
        places: Places,
    ) -> None:
        self._places = places
        self._scratch = _noted(rows, repeated, stands) if repeated else None

    def __bool__(self) -> bool:
        return self._scratch is not None

    def problem_of(self, row: CheckedRow) -> RowProblem | None:
        """What is wrong with a row's id; None: nothing, or it has the right to it."""
        if self._scratch is None:
            return None
        number = row.raw.number
        mine = (
            "SELECT ids.id, ids.written, shared.owner FROM ids JOIN shared ON shared.id = ids.id"
            " WHERE ids.row = ? AND shared.owner IS NOT ids.row ORDER BY ids.id LIMIT 1"
        )
        found = self._scratch.execute(mine, (number,)).fetchone()
        if found is None:
            return None
        clip_id, written, owner = found
        if owner is not None:
            return self._problem(row, written, owner, before=True)
        others = "SELECT row FROM ids WHERE id = ? AND row != ? ORDER BY row LIMIT 1"
        (other,) = self._scratch.execute(others, (clip_id, number)).fetchone()
        return self._problem(row, written, other, before=False)

    def _problem(self, row: CheckedRow, clip_id: str, other: int, *, before: bool) -> RowProblem:
        where = self._places.of(other)
        if row.id_given or row.unusable_id is not None:
            fault = f"is also the id of {where}" + (", which had it before" if before else "")
        else:
            fault = f"is the id of {where} as well, which asks for the same clip"
        known_by = None if row.unusable_id is not None else clip_id
        return RowProblem(row.raw.number, "clip_id", shown(clip_id), fault, _ALLOWED, known_by)


def _noted(
    rows: Iterable[CheckedRow], repeated: Collection[int], stands: Callable[[CheckedRow, int, str], bool]
) -> Scratch:
    """Ids whose hash is there twice, and of those that are themselves the row that has the right to it, if one has."""
    scratch = Scratch(
        "CREATE TABLE ids (id TEXT, row INTEGER, written TEXT, stands INTEGER, PRIMARY KEY (id, row)) WITHOUT ROWID;"
        "CREATE TABLE shared (id TEXT PRIMARY KEY, owner INTEGER) WITHOUT ROWID;"
    )
    for row in rows:
        for take, clip_id in enumerate(row.ids_to_compare(), start=1):
            lower = clip_id.lower()
            if hash(lower) in repeated:
                values = (lower, row.raw.number, clip_id, stands(row, take, clip_id))
                scratch.execute("INSERT INTO ids VALUES (?, ?, ?, ?)", values)
    scratch.execute("CREATE INDEX of_row ON ids (row)")
    scratch.execute(
        "INSERT INTO shared SELECT id, min(CASE WHEN stands THEN row END) FROM ids GROUP BY id HAVING count(*) > 1"
    )
    return scratch
