"""Cells that a spreadsheet would run: kept from it in the CSV files that people open, and given back when those are read again.

An apostrophe is put before what begins like a formula, as OWASP advises (https://owasp.org/www-community/attacks/CSV_Injection).
A prompt must come back as it was, or its clip would be made and paid for anew; so a column names the cells that have one.
"""

import json
import re
from dataclasses import replace
from typing import Any

from sora_pipeline.manifest.columns import ESCAPED
from sora_pipeline.manifest.table import Record, Table

# The full-width signs count in Chinese, Japanese and Korean spreadsheets.
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"\s*[{_SIGNS}]|[\t\r\n]")
_ESCAPED_NAME = re.compile(rf"'*(?:{_FORMULA.pattern})")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OURS = {"production", "error_message", ESCAPED}


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a cell's text for a formula; numbers, also negative ones, are none."""
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


def harmless(text: str) -> str:
    """A cell's text so that no spreadsheet runs it."""
    return f"'{text}" if is_formula(text) else text


def without_apostrophe(text: str) -> str:
    """A cell's text as it was before an apostrophe kept it from being a formula; any other text as it is."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text, 1) else text


def escaped_name(name: str) -> str:
    """A column's name so that no spreadsheet runs it; one that looks as if that had been done gets an apostrophe, too."""
    return f"'{name}" if _ESCAPED_NAME.match(name) else name


def unescape(table: Table) -> Table:
    """A table as it was before it was written without formulas, whatever format it was saved in since; others as they are.

    A cell that a person has written anew has no apostrophe, and is left alone.
    """
    if not set(table.names) >= _OURS:
        return table
    marks = table.names.index(ESCAPED)
    places = {name: i for i, name in enumerate(table.names)}
    names = tuple(name[1:] if _is_escaped_name(name) else name for name in table.names)
    return replace(table, names=names, rows=table.rows.mapped(lambda row: _unescaped(row, marks, places)))


def _is_escaped_name(name: str) -> bool:
    return name.startswith("'") and _ESCAPED_NAME.match(name) is not None


def _unescaped(row: Record, marks: int, places: dict[str, int]) -> Record:
    cells = list(row.cells)
    for name in _names_in(cells[marks]):
        i = places.get(name)
        cell = None if i is None else cells[i]
        if i is not None and isinstance(cell, str) and cell.startswith("'") and is_formula(cell[1:]):
            cells[i] = cell[1:]
    return row._replace(cells=tuple(cells))


def _names_in(mark: Any) -> list[str]:
    try:
        names = json.loads(mark) if isinstance(mark, str) and mark.strip() else []
    except (ValueError, RecursionError):  # a person has edited it
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
