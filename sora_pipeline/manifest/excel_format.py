"""Excel workbooks to a table of typed cells. Knows nothing of what the columns mean."""

import io
from datetime import datetime, time
from typing import TYPE_CHECKING, Any

from sora_pipeline.amounts import listed
from sora_pipeline.manifest.bounds import MAX_CELLS, require_at_most
from sora_pipeline.manifest.excel_package import Merged, Sheet, sheet_of
from sora_pipeline.manifest.json_values import json_value
from sora_pipeline.manifest.problems import ManifestError, brief, shown
from sora_pipeline.manifest.table import Places, Record, Table, is_blank
from sora_pipeline.streams import Streamed

if TYPE_CHECKING:
    import pandas as pd

_ZIP = b"PK\x03\x04"
_OLD_OR_LOCKED = b"\xd0\xcf\x11\xe0"
_MIDNIGHT = time()
_SHOWN_CELLS = 5


def parse_excel(uri: str, content: bytes, sheet: str | None) -> Table:
    """Read a sheet of an ``.xlsx`` file, the first that is not hidden where none is named.

    Whole numbers are integers. A date without a time of day is a date. What stands in a cell that is merged over several rows
    stands in each of them.

    Raises:
        ManifestError: the bytes are no such file, there is no such sheet, or a formula in it has no result.
    """
    if content.startswith(_OLD_OR_LOCKED):
        reason = "this workbook is locked by a password, or of the old .xls kind. Save it as .xlsx without a password."
        raise ManifestError(uri, reason)
    if not content.startswith(_ZIP):
        raise ManifestError(
            uri, "this is not an Excel workbook (.xlsx). Save it as one, or name it as what it is."
        )
    frame, found = _read(uri, content, sheet)
    if found.lost:
        reason = (
            f"these cells hold an error, or a formula that was never calculated: {listed(found.lost, _SHOWN_CELLS)}. "
            f"Open the workbook, mend them or write the values themselves, and save it."
        )
        raise ManifestError(uri, reason)
    records = frame.itertuples(index=False, name=None)
    above, header = next(
        ((row, cells) for row, cells in enumerate(records, start=1) if not all(map(is_blank, cells))),
        (0, None),
    )
    if header is None:
        raise ManifestError(uri, "the sheet is empty. It needs a header line with a prompt column, and rows.")
    names = tuple(str(json_value(name)).strip() for name in header)
    merged = [each for each in found.merged if each.first > above]
    below = _unmerged(uri, [list(map(_value, cells)) for cells in records], merged, above)
    numbered = enumerate(map(tuple, below), start=1)
    # In memory: a sheet has no more rows than a manifest may, and no reader gives it in stretches.
    rows = [Record(number, cells) for number, cells in numbered if not all(map(is_blank, cells))]
    guessed = bool(found.place and found.others)
    which = f'{found.place} of {len(found.others) + 1} sheets, "{shown(found.name)}"'
    notes = (*_notes_of_merged(merged, above, len(below)), *_notes_of_hidden(found, above, rows))
    elsewhere = (
        f"This is {which}: name the one that has them, as in {uri}#{found.others[0]}" if guessed else ""
    )
    return Table(
        names,
        Streamed(len(rows), rows.__iter__),
        Places("row", above),
        (which,) if guessed else (),
        notes=notes,
        elsewhere=elsewhere,
    )


def _unmerged(uri: str, rows: list[list[Any]], merged: list[Merged], above: int) -> list[list[Any]]:
    """The rows below the header, with what is merged in each row that it is merged over."""
    filled = 0
    for _, column, first, last in merged:
        top, end = first - above - 1, min(last - above, len(rows))
        if top >= end or column > len(rows[top]):
            continue
        filled += end - top
        require_at_most(uri, MAX_CELLS, filled, "cells that are merged")
        for row in rows[top + 1 : end]:
            row[column - 1] = rows[top][column - 1]
    return rows


def _notes_of_merged(merged: list[Merged], above: int, rows: int) -> list[str]:
    in_rows = sorted((each for each in merged if each.first - above <= rows), key=lambda each: each[1:])
    if not in_rows:
        return []
    references = listed([each.reference for each in in_rows], _SHOWN_CELLS)
    return [f"merged cells stand in each row that they are merged over: {references}"]


def _notes_of_hidden(found: Sheet, above: int, rows: list[Record]) -> list[str]:
    hidden = sum(row.number + above in found.hidden_rows for row in rows)
    if not hidden:
        return []
    are = "row is" if hidden == 1 else "rows are"
    return [f"{hidden} hidden {are} read like the others; delete what is not to be made"]


def _read(uri: str, content: bytes, sheet: str | None) -> "tuple[pd.DataFrame, Sheet]":
    """The cells of a sheet as they lie, and the sheet."""
    import pandas as pd

    try:
        found = sheet_of(uri, content, sheet)
        frame = pd.read_excel(
            io.BytesIO(found.workbook),
            sheet_name=found.name,
            engine="calamine",
            header=None,
            dtype=object,
            keep_default_na=False,
            na_filter=False,
        )
        return frame, found
    except ImportError:
        reason = "Excel workbooks need python-calamine, which is not installed: pip install 'sora-pipeline[excel]'."
        raise ManifestError(uri, reason) from None
    except ManifestError:
        raise
    except Exception as error:  # damaged workbooks raise whatever the decoder stumbles over
        reason = f"the workbook cannot be read ({brief(error)}). It may be damaged; save it again."
        raise ManifestError(uri, reason) from error


def _value(cell: Any) -> Any:
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime) and cell.time() == _MIDNIGHT:
        return cell.date()
    return cell
