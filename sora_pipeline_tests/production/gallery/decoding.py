"""Reads what lies beside a page as the page does, without a browser."""

import json
import re
from pathlib import Path
from typing import Any

_SCRIPT = re.compile(rb"galleryData\((.*)\)\n", re.DOTALL)


def data_of(path: Path) -> Any:
    """What a data file hands to the page; it must be this one call and nothing else."""
    found = _SCRIPT.fullmatch(path.read_bytes())
    assert found, path.read_bytes()[:100]
    return json.loads(found[1])


def set_of(folder: Path) -> dict[str, Any]:
    """The set of files that the page in this folder names."""
    named = re.search(r'data-set="([^"]+)"', (folder / "gallery.html").read_text())
    assert named
    return dict(data_of(folder / named[1]))


def rows_in(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of the page's ``lists`` or ``details``, cell by cell."""
    rows: list[dict[str, Any]] = []
    for name, count, *_ in set_of(folder)[kind]:
        chunk = data_of(folder / name)
        carried = [_values(column, count) for column in chunk.pop("carried")]
        columns = {column: _values(cells, count) for column, cells in chunk.items()} | {
            "carried": [list(values) for values in zip(*carried, strict=True)] or [[]] * count
        }
        rows.extend({column: cells[i] for column, cells in columns.items()} for i in range(count))
    return rows


def _values(column: Any, count: int) -> list[Any]:
    if isinstance(column, list):
        assert len(column) == count
        return column
    codes = column.get("codes", [0] * count)
    assert len(codes) == count
    return [column["values"][code] for code in codes]
