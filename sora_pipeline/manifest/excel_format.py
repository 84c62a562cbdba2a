"""Excel workbooks to a table of JSON values. Knows nothing of what the columns mean."""

import io
import re
import zipfile
from datetime import datetime, time
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from sora_pipeline.manifest.json_values import json_value
from sora_pipeline.manifest.problems import ManifestError, either
from sora_pipeline.manifest.table import Record, Table, is_blank

if TYPE_CHECKING:
    import pandas as pd

_ZIP = b"PK\x03\x04"
_OLD_OR_LOCKED = b"\xd0\xcf\x11\xe0"
_MIDNIGHT = time()
_CELL = re.compile(rb"<c\b([^>]*)(?<!/)>(.*?)</c>", re.DOTALL)  # not the empty ones, <c/>
_NAME = re.compile(rb'\br="(\w+)"')
_FORMULA = re.compile(rb"<f[\s>/]")
_VALUE = re.compile(rb"<v>[^<]")
_TYPE = re.compile(rb'\bt="(\w+)"')
_SHOWN_CELLS = 5


def parse_excel(uri: str, content: bytes, sheet: str | None) -> Table:
    """Read a sheet of an ``.xlsx`` file, the first where none is named.

    Whole numbers are integers, dates and times ISO 8601. A date without a time of day is a date.

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
    frame, lost = _read(uri, content, sheet)
    if lost:
        more = f" and {len(lost) - _SHOWN_CELLS} more" if len(lost) > _SHOWN_CELLS else ""
        reason = (
            f"these cells hold an error, or a formula that was never calculated: {', '.join(lost[:_SHOWN_CELLS])}{more}. "
            f"Open the workbook, mend them or write the values themselves, and save it."
        )
        raise ManifestError(uri, reason)
    records = frame.itertuples(index=False, name=None)
    header = next((cells for cells in records if not all(map(is_blank, cells))), None)
    if header is None:
        raise ManifestError(uri, "the sheet is empty. It needs a header line with a prompt column, and rows.")
    names = tuple(str(json_value(name)).strip() for name in header)
    rows = enumerate((tuple(map(_value, cells)) for cells in records), start=1)
    return Table(names, [Record(number, cells) for number, cells in rows if not all(map(is_blank, cells))])


def _read(uri: str, content: bytes, sheet: str | None) -> "tuple[pd.DataFrame, list[str]]":
    """The sheet as it lies, and the names of its cells without a result."""
    import pandas as pd

    try:
        with pd.ExcelFile(io.BytesIO(content), engine="calamine") as workbook:
            if sheet is not None and sheet not in workbook.sheet_names:
                names = either([f'"{name}"' for name in workbook.sheet_names])
                raise ManifestError(
                    uri, f'there is no sheet "{sheet}" in this workbook. Name one that it has: {names}.'
                )
            frame = pd.read_excel(
                workbook,
                sheet_name=sheet or 0,
                header=None,
                dtype=object,
                keep_default_na=False,
                na_filter=False,
            )
        return frame, _cells_without_result(content, sheet)
    except ImportError:
        reason = "Excel workbooks need python-calamine, which is not installed: pip install 'sora-pipeline[excel]'."
        raise ManifestError(uri, reason) from None
    except ManifestError:
        raise
    except Exception as error:  # damaged workbooks raise whatever the decoder stumbles over
        reason = f"the workbook cannot be read ({error}). It may be damaged; save it again."
        raise ManifestError(uri, reason) from error


def _value(cell: Any) -> Any:
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime) and cell.time() == _MIDNIGHT:
        return cell.date().isoformat()
    return json_value(cell)


def _cells_without_result(content: bytes, sheet: str | None) -> list[str]:
    """Cells whose formula has an error or no result: calamine gives blanks, and a blank duration is paid for at the default."""
    with zipfile.ZipFile(io.BytesIO(content)) as workbook:
        xml = workbook.read(_part(workbook, sheet))
    return [
        name[1].decode()
        for attributes, inside in (cell.groups() for cell in _CELL.finditer(xml))
        if _has_no_result(attributes, inside) and (name := _NAME.search(attributes))
    ]


def _has_no_result(attributes: bytes, inside: bytes) -> bool:
    declared = _TYPE.search(attributes)
    kind = declared[1] if declared else b"n"
    # A text may be empty, and a result all the same.
    return kind == b"e" or (kind == b"n" and bool(_FORMULA.search(inside)) and not _VALUE.search(inside))


def _part(workbook: zipfile.ZipFile, sheet: str | None) -> str:
    """The file of the workbook that holds a sheet."""
    sheets = [element for element in _elements(workbook, "xl/workbook.xml") if _local(element.tag) == "sheet"]
    wanted = next(element for element in sheets if sheet in (None, element.get("name")))
    relation = next(value for name, value in wanted.items() if _local(name) == "id")
    for element in _elements(workbook, "xl/_rels/workbook.xml.rels"):
        if element.get("Id") == relation:
            target = element.get("Target", "")
            return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError(relation)


def _elements(workbook: zipfile.ZipFile, part: str) -> list[ET.Element]:
    return list(ET.fromstring(workbook.read(part)).iter())  # noqa: S314 - the user's own file; expat bounds entities


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
