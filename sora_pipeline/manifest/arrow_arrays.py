"""Python values as Arrow arrays, without pandas.

pyarrow imports pandas for every list that it is given, and for every moment that it gives back: a second of a process's time.
"""

from array import array
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, repeat
from operator import is_, is_not
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
        return pa.Array.from_buffers(kind, len(values), _text_buffers(values))
    if types.is_boolean(kind):
        return pa.Array.from_buffers(
            kind, len(values), [_validity(values), _bits(map(is_, values, repeat(True)))]
        )
    if types.is_timestamp(kind):
        values = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
    code = "d" if types.is_floating(kind) else "i" if types.is_int32(kind) else "q"
    try:
        numbers, validity = array(code, values), None
    except TypeError:
        numbers = array(code, [0 if value is None else value for value in values])
        validity = _validity(values)
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(numbers)])


def _text_buffers(values: Sequence[str | None]) -> "list[pa.Buffer | None]":
    import pyarrow as pa

    if values and type(values[0]) is str and values.count(values[0]) == len(values):
        encoded = values[0].encode()
        ends = range(0, len(encoded) * len(values) + 1, len(encoded)) if encoded else [0] * (len(values) + 1)
        return [None, pa.py_buffer(array("i", ends)), pa.py_buffer(encoded * len(values))]
    texts: Sequence[Any] = values
    validity = None
    try:
        joined = "".join(texts)
    except TypeError:  # one is None
        texts, validity = ["" if value is None else value for value in values], _validity(values)
        joined = "".join(texts)
    if joined.isascii():
        return [validity, _offsets(map(len, texts)), pa.py_buffer(joined.encode())]
    each = [text.encode() for text in texts]
    return [validity, _offsets(map(len, each)), pa.py_buffer(b"".join(each))]


def _validity(values: Sequence[Any]) -> "pa.Buffer | None":
    """One bit a value: whether it is there."""
    return _bits(map(is_not, values, repeat(None))) if None in values else None


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
