"""Typed cells to JSON values."""

import base64
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

_PLAIN = (str, int, bool, type(None))
_KINDS = (  # a datetime is a date, and a bool a number: the narrower kind stands first
    (bool, "a truth value"),
    ((int, float, Decimal), "a number"),
    (datetime, "a date and time"),
    (date, "a date"),
    (time, "a time of day"),
    (timedelta, "a length of time"),
    ((bytes, bytearray, memoryview), "bytes"),
    ((list, tuple), "a list"),
    (Mapping, "a record"),
)


def json_value(value: Any) -> Any:
    """The value itself where JSON has a word for it, otherwise text that says the same.

    Dates and times become ISO 8601, decimals their digits, NaN null, other infinities ``inf``, durations seconds, bytes
    their UTF-8 text, or Base64 where they are none.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return None if math.isnan(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return str(value)


def kind_of(value: Any) -> str:
    """What a value that is no text is, in words: ``a date``."""
    return next((words for types, words in _KINDS if isinstance(value, types)), "a value of another kind")
