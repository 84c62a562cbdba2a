"""``picks.csv``: which clips a person found good or bad in the gallery, and what was said of them.

The gallery writes it; people may edit it, in a spreadsheet too. A pick is about one video of one clip of one production.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.manifest.bounds import MAX_BYTES
from sora_pipeline.manifest.csv_format import parse_csv
from sora_pipeline.manifest.excel_format import parse_excel
from sora_pipeline.manifest.formulas import without_apostrophe
from sora_pipeline.manifest.ids import ID_RULE, is_safe_id
from sora_pipeline.manifest.problems import RowProblem, shown
from sora_pipeline.manifest.table import Record, Table, is_blank
from sora_pipeline.manifest.uris import extension, read_to_spool, split_sheet
from sora_pipeline.uris import absolute_uri, shown_uri

PICK_COLUMNS = ("production", "clip_id", "pick", "note", "file_name")
_NEEDED = ("production", "clip_id", "pick")
_MOST_TOLD = 10


class Mark(StrEnum):
    """What a person found."""

    GOOD = "good"
    BAD = "bad"
    NONE = ""  # there is only a note


@dataclass(frozen=True, slots=True)
class Pick:
    """What a person said of one video.

    Attributes:
        production: The production.
        clip_id: The clip.
        mark: What was found.
        note: In the person's words.
        file_name: Which video, relative to the output; None: the clip had none.
        row_number: Where it stands; the first row below the header is 1.
    """

    production: str
    clip_id: str
    mark: Mark
    note: str
    file_name: str | None
    row_number: int


class PicksError(SoraPipelineError):
    """Raised where a file of picks cannot be used; nothing of it was taken.

    Attributes:
        problems: What is wrong with single rows; none where it is the file as a whole.
    """

    def __init__(self, uri: str, reason: str, problems: Sequence[RowProblem] = ()) -> None:
        told = [problem.sentence(shown_uri(uri)) for problem in problems[:_MOST_TOLD]]
        if len(problems) > _MOST_TOLD:
            told.append(f"and {len(problems) - _MOST_TOLD} more")
        super().__init__("\n".join(told) or f"{shown_uri(uri)}: {reason}")
        self.problems = tuple(problems)


def good_videos(picks: Iterable[Pick]) -> dict[str, dict[str, str | None]]:
    """The videos that are marked good, by production and clip."""
    good: dict[str, dict[str, str | None]] = {}
    for pick in picks:
        if pick.mark is Mark.GOOD:
            good.setdefault(pick.production, {})[pick.clip_id] = pick.file_name
    return good


def read_picks(uri: str) -> list[Pick]:
    """Read a file of picks, CSV or Excel, from a path or fsspec URI; rows that say nothing are left out.

    Raises:
        PicksError: it is none, or rows of it cannot be used; the text names each.
        ManifestError: it cannot be read at all.
    """
    uri = absolute_uri(uri)
    table = _table(uri)
    problems: list[RowProblem] = []
    picks: dict[tuple[str, str], Pick] = {}
    for row in table.rows:
        found = _pick(row.number, _cells(table, row), problems)
        if found is None or (found.mark is Mark.NONE and not found.note):
            continue
        before = picks.setdefault((found.production, found.clip_id), found)
        if before is not found:
            problems.append(
                RowProblem(
                    row.number,
                    "clip_id",
                    found.clip_id,
                    f"has a pick in row {before.row_number + 1} already",
                    "one row for each clip of a production",
                )
            )
    if problems:
        raise PicksError(uri, "", problems)
    return list(picks.values())


def _table(uri: str) -> Table:
    file, sheet = split_sheet(uri)
    content, _ = read_to_spool(file, MAX_BYTES)
    table = parse_excel(uri, content.read(), sheet) if extension(file) == ".xlsx" else parse_csv(uri, content)
    table = Table(tuple(without_apostrophe(name).strip().lower() for name in table.names), table.rows)
    missing = [name for name in _NEEDED if name not in table.names]
    if missing:
        raise PicksError(
            uri,
            f'it is no file of picks: there is no column {" and no column ".join(missing)}. The gallery\'s "Download picks.csv" '
            f"writes one, with the columns {', '.join(PICK_COLUMNS)}; save it comma-separated.",
        )
    return table


def _cells(table: Table, row: Record) -> Mapping[str, str]:
    """The texts of a row, as they were before they were written without formulas."""
    return {name: _text(cell) for name, cell in zip(table.names, row.cells, strict=False)}


def _text(cell: Any) -> str:
    return "" if is_blank(cell) else without_apostrophe(str(cell)).strip()


def _pick(number: int, cells: Mapping[str, str], problems: list[RowProblem]) -> Pick | None:
    """What a row says; None where it says nothing that can be used, which is then among the problems."""
    wrong = [
        RowProblem(number, column, shown(cells.get(column)), fault, allowed)
        for column, fault, allowed in _faults(cells)
    ]
    problems.extend(wrong)
    if wrong:
        return None
    return Pick(
        production=cells["production"],
        clip_id=cells["clip_id"],
        mark=Mark(cells["pick"].lower()),
        note=cells.get("note", ""),
        file_name=cells.get("file_name") or None,
        row_number=number,
    )


def _faults(cells: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Of each cell that cannot be used: its column, what is wrong with it, and what is allowed."""
    clip_id, file_name = cells["clip_id"], cells.get("file_name", "")
    if not cells["production"]:
        yield "production", "is missing", "the name of the production whose clip this is"
    if not is_safe_id(clip_id):
        yield "clip_id", "is no clip id", ID_RULE
    if cells["pick"].lower() not in tuple(Mark):
        yield "pick", "is no pick", "good, bad, or empty where there is only a note"
    if file_name and is_safe_id(clip_id) and not file_name.startswith(f"videos/{clip_id}/"):
        yield (
            "file_name",
            f"is no video of the clip {clip_id} (a spreadsheet makes 1 of 001)",
            f"a path below videos/{clip_id}, or empty",
        )
