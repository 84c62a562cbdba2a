"""JSON Lines to a table of typed cells: one object a line. A line that is none is a problem of its row."""

import itertools
import json
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NoReturn

from sora_pipeline.manifest.bounds import MAX_CELLS, MAX_COLUMNS, MAX_DEPTH, MAX_ROWS, require_at_most
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.table import Places, Record, Table, is_blank
from sora_pipeline.manifest.text_encoding import UTF_8, encoding_of
from sora_pipeline.spool import CHUNK_BYTES, Spool
from sora_pipeline.streams import Streamed
from sora_pipeline.uris import is_unicode

EXTENSIONS = (".jsonl", ".ndjson")
MAX_LINE_MIB = 8
_ONE_A_LINE = "JSON Lines are an object for each clip, each in a line of its own."
_BOM = b"\xef\xbb\xbf"


class _LineFault(ValueError):
    """Raised where a line is no row, in words that follow its place."""


def parse_jsonl(uri: str, content: Spool) -> Table:
    """Read UTF-8 text with a JSON object a line; its keys are the columns, in the order in which they come.

    A row's number is its line's. The file is gone through once here, and once more each time the table's rows are.

    Raises:
        ManifestError: the file is no text, or holds more than is allowed.
    """
    require_at_most(uri, MAX_CELLS, _most_cells(content), "cells")
    encoding = encoding_of(uri, content)
    if encoding != UTF_8:
        raise ManifestError(uri, f"it is {encoding.name}. JSON Lines are UTF-8; save it as that.")
    if any(line.strip() == b"[" for _, line in itertools.islice(_lines(uri, content), 1)):
        raise ManifestError(uri, f"it is JSON as a whole, in brackets. {_ONE_A_LINE}")
    names: dict[str, None] = {}
    rows = number = 0
    first_fault = ""
    for number, values in _records(uri, content):
        rows += 1
        if isinstance(values, _LineFault):
            first_fault = first_fault or f"line {number} {values}"
            continue
        names |= dict.fromkeys(values)
        require_at_most(uri, MAX_COLUMNS, len(names), "columns")
        require_at_most(uri, MAX_CELLS, rows * len(names), "cells")
    require_at_most(uri, MAX_ROWS, number, "lines, blank ones included")
    if first_fault and not names:
        raise ManifestError(uri, f"{first_fault}. {_ONE_A_LINE}")
    columns = tuple(names)
    return Table(columns, Streamed(rows, lambda: _rows(uri, content, columns)), Places("line"))


def _most_cells(content: Spool) -> int:
    """How many values there are at most: one for each comma, and for each opening bracket and brace, those inside of texts included."""
    with content.open() as stream:
        return sum(
            sum(map(chunk.count, (b",", b"[", b"{")))
            for chunk in iter(partial(stream.read, CHUNK_BYTES), b"")
        )


def _rows(uri: str, content: Spool, columns: tuple[str, ...]) -> Iterator[Record]:
    blank = (None,) * len(columns)
    for number, values in _records(uri, content):
        if isinstance(values, _LineFault):
            yield Record(number, blank, fault=str(values))
        else:
            yield Record(number, tuple(map(values.get, columns)))


def _records(uri: str, content: Spool) -> Iterator[tuple[int, dict[str, Any] | _LineFault]]:
    """Numbers of the lines with anything in them, and their values, or what is wrong with them."""
    for number, line in _lines(uri, content):
        try:
            values = _object(line)
        except _LineFault as fault:
            yield number, fault
        else:
            if not all(map(is_blank, values.values())):
                yield number, values


def _lines(uri: str, content: Spool) -> Iterator[tuple[int, bytes]]:
    """Numbers and bytes of the lines that are not blank."""
    most = MAX_LINE_MIB * 2**20
    with content.open() as stream:
        number = 0
        while line := stream.readline(most + 1):
            number += 1
            if len(line) > most:
                reason = f"line {number} is longer than {MAX_LINE_MIB} MiB. Write an object for each clip, each in a line of its own."
                raise ManifestError(uri, reason)
            if number == 1:
                line = line.removeprefix(_BOM)
            if line.strip():
                yield number, line


def _object(line: bytes) -> dict[str, Any]:
    """A line's values by column.

    Raises:
        _LineFault: it is no such object.
    """
    try:
        value = _DECODER.decode(line.decode())
    except RecursionError:
        raise _LineFault("is nested too deeply") from None
    except _LineFault:
        raise
    except ValueError as error:  # digits beyond what Python reads count as well
        said = (
            f"{error.msg} at column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else "a number is too long"
        )
        raise _LineFault(f"is not JSON ({said})") from None
    if not isinstance(value, dict):
        raise _LineFault("is not an object in braces")
    for item in value.values():
        _require_usable(item, MAX_DEPTH)
    if not all(map(is_unicode, value)):
        raise _LineFault("holds half a character")
    return value


def _require_usable(value: Any, depth: int) -> None:
    """Refuse what no cell can be: what is nested beyond the bound, and half of a character."""
    if isinstance(value, str):
        if not is_unicode(value):
            raise _LineFault("holds half a character")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _LineFault("holds a number that is too large")
    elif isinstance(value, list | dict):
        if depth == 0:
            raise _LineFault(f"is nested deeper than {MAX_DEPTH} lists and records")
        items = value if isinstance(value, list) else [*value, *value.values()]
        for item in items:
            _require_usable(item, depth - 1)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = {name.strip(): value for name, value in pairs}
    if len(values) < len(pairs):
        raise _LineFault("names a column twice")
    return values


def _refuse_constant(constant: str) -> NoReturn:
    raise _LineFault(f"holds {constant}, which is no JSON; write null, or nothing")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
