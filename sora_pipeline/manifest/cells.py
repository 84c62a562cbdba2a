"""One cell to one typed value. Each function either returns it or raises ``CellFault`` saying what is allowed."""

import re
from typing import Any

from sora_pipeline.clip import Size
from sora_pipeline.manifest.ids import ID_RULE, is_safe_id
from sora_pipeline.manifest.table import NotText, is_blank

# A comma before three zeros would be a thousand in English.
_WHOLE = re.compile(r"([+-]?[0-9]{1,9})(?:\.0*|,0{1,2})?")
_SECONDS = re.compile(r"(.*?)\s*(?:s|secs?|seconds?)", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,5})\s*[xX*\u00d7]\s*([0-9]{1,5})")


_LONGEST_NUMBER = 40


class CellFault(Exception):
    """A cell holds what it may not: a predicate (``is not a whole number``), what is allowed, and what may have been meant."""

    def __init__(self, fault: str, allowed: str, suggestion: str = "") -> None:
        super().__init__(fault, allowed)
        self.fault = fault
        self.allowed = allowed
        self.suggestion = suggestion


def text(value: Any, allowed: str) -> str | None:
    """A string without the white space around it, line breaks as line feeds; None for a blank.

    Spreadsheets write line breaks as CRLF on some machines and LF on others: the clip is the same.
    """
    if is_blank(value):
        return None
    if isinstance(value, NotText):
        raise CellFault(f"is {value.kind}, not text", allowed)
    if not isinstance(value, str):
        raise CellFault("is not text", allowed)
    if "\0" in value:
        raise CellFault("holds a NUL character", allowed)
    stripped = value.strip()
    return stripped.replace("\r\n", "\n").replace("\r", "\n") if "\r" in stripped else stripped


def whole_number(value: Any, allowed: str) -> int | None:
    """8 for ``8``, ``"8"``, ``" 8 "``, ``8.0`` and ``"8.0"``, which data frames make of a column with gaps, and for ``"8,0"``."""
    if is_blank(value):
        return None
    if isinstance(value, bool | list | dict):
        raise CellFault("is not a whole number", allowed)
    if isinstance(value, int):
        return value
    match = _WHOLE.fullmatch(str(value).strip())
    if match is None:
        raise CellFault("is not a whole number", allowed)
    return int(match[1])


def seconds(value: Any, allowed: str) -> int | None:
    """A whole number, also where its unit is written with it: ``8s``, ``8 sec``."""
    if isinstance(value, str) and len(value) < _LONGEST_NUMBER and value.rstrip()[-1:].isalpha():
        written = _SECONDS.fullmatch(value.strip())
        return whole_number(value if written is None else written[1], allowed)
    return whole_number(value, allowed)


def frame_size(value: Any, allowed: str) -> Size | None:
    """``720x1280`` also where it is written ``720*1280``, ``720X1280`` or ``720 x 1280``."""
    written = text(value, allowed)
    if written is None:
        return None
    match = _SIZE.fullmatch(written)
    if match is None:
        raise CellFault("is not a size", allowed)
    return Size(int(match[1]), int(match[2]))


def given_id(value: Any) -> str | None:
    """An id as a row gives it; a data frame's number column counts as its digits."""
    if isinstance(value, float) and value.is_integer() and not is_blank(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    written = text(value, ID_RULE)
    if written is not None and not is_safe_id(written):
        raise CellFault("is not safe as a file name", ID_RULE)
    return written
