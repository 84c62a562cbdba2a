"""JSON of files that anybody may have written: read, or refused with a ``ValueError``, whatever is in it."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from sora_pipeline.uris import is_unicode


def read_json(content: bytes | str) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, is nested too deeply, or holds what no database or page takes: NaN, NUL, half a character.
    """
    try:
        value = json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not all(is_unicode(text) and "\0" not in text for text in _texts(value)):
        raise ValueError("holds a character that is none")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"holds {constant}")


def _texts(value: Any) -> Iterator[str]:
    """All texts in it, names of fields included."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            rest += [*item, *item.values()]
        elif isinstance(item, list):
            rest += item
