"""Python values as Arrow arrays and back, without pandas.

pyarrow imports pandas for every list that it is given, and for every moment that it gives back: a second of a process's time.
"""

from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def arrow_array(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array[Any]":
    """The values, or None, as an array of this type: of texts, booleans, int32, int64, float64, moments, or lists of such.

    Raises:
        TypeError, OverflowError: a value is of another kind, or too large.
    """
    import pyarrow as pa
    from pyarrow import types

    if types.is_list(kind):
        items = [item for value in values if value is not None for item in value]
        lengths = (0 if value is None else len(value) for value in values)
        buffers = [_validity(values), _offsets(lengths)]
        return pa.Array.from_buffers(
            kind, len(values), buffers, children=[arrow_array(items, kind.value_type)]
        )
    if types.is_string(kind):
        texts = [b"" if value is None else value.encode() for value in values]
        buffers = [_validity(values), _offsets(map(len, texts)), pa.py_buffer(b"".join(texts))]
        return pa.Array.from_buffers(kind, len(values), buffers)
    if types.is_boolean(kind):
        return pa.Array.from_buffers(kind, len(values), [_validity(values), _bits(map(_truth, values))])
    if types.is_timestamp(kind):
        values = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
    code = "d" if types.is_floating(kind) else "i" if types.is_int32(kind) else "q"
    numbers = array(code, (0 if value is None else value for value in values))
    return pa.Array.from_buffers(kind, len(values), [_validity(values), pa.py_buffer(numbers)])


def python_values(column: "pa.ChunkedArray[Any]") -> list[Any]:
    """The values of a column, or None; moments in UTC."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        return list(column.to_pylist())
    ticks = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    return [None if tick is None else _EPOCH + tick * _MICROSECOND for tick in ticks]


def _truth(value: bool | None) -> bool:
    return value is True


def _validity(values: Sequence[Any]) -> "pa.Buffer | None":
    """One bit a value: whether it is there."""
    return _bits(value is not None for value in values) if None in values else None


def _bits(flags: Iterable[bool]) -> "pa.Buffer":
    import pyarrow as pa

    packed = bytes(flags)
    flat = pa.Array.from_buffers(pa.uint8(), len(packed), [None, pa.py_buffer(packed)])
    bits = flat.cast(pa.bool_()).buffers()[1]
    assert bits is not None
    return bits


def _offsets(lengths: Iterable[int]) -> "pa.Buffer":
    import pyarrow as pa

    return pa.py_buffer(array("i", accumulate(lengths, initial=0)))
