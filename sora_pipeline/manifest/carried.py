"""Carried columns as typed Arrow arrays: the type that all values of a column share, else text."""

import json
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any

from sora_pipeline.manifest.arrow_arrays import arrow_array

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = range(-(2**63), 2**63)
_EXACT_FLOAT = range(-(2**53), 2**53 + 1)  # whole numbers beyond are changed by becoming a float


class CarriedColumns:
    """The carried columns of rows that pass by: their names, in the order in which they come, and what their values are.

    Args:
        names: Of columns that are there whether a row has a value in them or not.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._columns = {name: _Column() for name in names}

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        return tuple(self._columns)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Look at rows, whose every cell is carried."""
        for row in rows:
            if not row.keys() <= self._columns.keys():
                self._columns |= {name: _Column() for name in row if name not in self._columns}
        self.add_known(rows)

    def add_known(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Look at rows that have other cells as well: at those in columns that are known already."""
        for name, column in self._columns.items():
            column.add([row.get(name) for row in rows])

    def types(self) -> "dict[str, pa.DataType]":
        """Booleans, int64, float64, strings or lists of one of these; string for mixtures and objects."""
        return {name: column.type() for name, column in self._columns.items()}


class _Column:
    """What the values of a column are, as far as they were seen."""

    def __init__(self) -> None:
        self._values, self._items = _Kinds(), _Kinds()

    def add(self, values: Sequence[Any]) -> None:
        kinds = self._values.add(values)
        if list in kinds:
            self._items.add([item for value in values if type(value) is list for item in value])

    def type(self) -> "pa.DataType":
        import pyarrow as pa

        if self._values.kinds == {list}:
            item_type = self._items.type(mixed=False)
            return pa.string() if item_type is None else pa.list_(item_type)
        return self._values.type(mixed=True) or pa.string()


class _Kinds:
    """Types of values, and whether the whole numbers among them fit."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self._in_int64 = self._exact = True

    def add(self, values: Sequence[Any]) -> set[type]:
        """Look at some more; their types."""
        kinds = set(map(type, values)) - {NoneType}
        self.kinds |= kinds
        if int in kinds:
            whole = [value for value in values if type(value) is int]
            least, most = min(whole), max(whole)
            self._in_int64 &= least in _INT64 and most in _INT64
            self._exact &= least in _EXACT_FLOAT and most in _EXACT_FLOAT
        return kinds

    def type(self, *, mixed: bool) -> "pa.DataType | None":
        """The type that they share, or None; whether whole numbers and others may be mixed."""
        import pyarrow as pa

        if self.kinds == {str}:
            return pa.string()
        if self.kinds == {bool}:
            return pa.bool_()
        if self.kinds == {int} and self._in_int64:
            return pa.int64()
        if self.kinds == {float} or (mixed and self.kinds == {int, float} and self._exact):
            return pa.float64()
        return None


def carried_array(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array[Any]":
    """Values of a column as its type; as text where that is a string, objects as JSON text."""
    from pyarrow import types

    if types.is_string(kind):
        return arrow_array([value if type(value) is str else as_text(value) for value in values], kind)
    if types.is_floating(kind):
        return arrow_array([None if value is None else float(value) for value in values], kind)
    return arrow_array(values, kind)


def as_text(value: Any) -> str | None:
    """A JSON value as a cell of a text column."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
