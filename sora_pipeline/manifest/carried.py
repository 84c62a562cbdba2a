"""Carried columns as typed Arrow arrays: the type that all values of a column share, else text."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sora_pipeline.manifest.arrow_arrays import arrow_array

if TYPE_CHECKING:
    import pyarrow as pa

_INT64 = range(-(2**63), 2**63)
_EXACT_FLOAT = range(-(2**53), 2**53 + 1)  # whole numbers beyond are changed by becoming a float


def carried_array(values: Sequence[Any]) -> "pa.Array[Any]":
    """The values as booleans, int64, float64, strings or lists of one of these; mixtures as text, objects as JSON text."""
    import pyarrow as pa

    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds <= {str}:
        return arrow_array(values, pa.string())
    if kinds == {bool}:
        return arrow_array(values, pa.bool_())
    if kinds == {int} and all(value in _INT64 for value in present):
        return arrow_array(values, pa.int64())
    if (
        float in kinds
        and kinds <= {int, float}
        and all(type(v) is float or v in _EXACT_FLOAT for v in present)
    ):
        return arrow_array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {list}:
        item_kinds = {type(item) for value in present for item in value} - {type(None)}
        for kind, item_type in (
            (str, pa.string()),
            (bool, pa.bool_()),
            (int, pa.int64()),
            (float, pa.float64()),
        ):
            if item_kinds == {kind} and (
                kind is not int or all(i is None or i in _INT64 for v in present for i in v)
            ):
                return arrow_array(values, pa.list_(item_type))
    return arrow_array([as_text(value) for value in values], pa.string())


def as_text(value: Any) -> str | None:
    """A JSON value as a cell of a text column."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
