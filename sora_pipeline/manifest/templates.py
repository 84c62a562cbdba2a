"""Prompts with columns in braces, filled from their row: ``A {color} car``.

Braces are common in prompts that are no templates, JSON above all. So only a column's name, or what looks like one (words of letters,
digits and underscores), means anything in braces; everything else stays as it is. Doubled braces around such a name are the braces themselves: ``{{color}}`` is ``{color}``.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sora_pipeline.manifest.bounds import MAX_CELL_CHARS, MAX_NAME_CHARS
from sora_pipeline.manifest.carried import as_text
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.columns import bare
from sora_pipeline.manifest.problems import shown
from sora_pipeline.manifest.table import is_blank
from sora_pipeline.suggestions import nearest

_FIELD = re.compile(rf"(?<!\{{)(\{{++)([^{{}}\n]{{1,{MAX_NAME_CHARS}}}+)(\}}++)")
_LIKE_A_NAME = re.compile(r"\s*[^\W\d]\w*(?:[\s-]+\w+)*\s*")
"""One word or several: ``{Product Name}`` that no column has is a slip as ``{product}`` is, and would be paid for."""
_WORD = re.compile(r"[^\W\d]\w*")
"""All that earlier versions took for a name that no column has."""
_SHOWN_COLUMNS = 12
_MOST_FAULTS = 5
_TOO_LONG = ""
"""No name in braces: what is wrong with the prompt as a whole."""


class _Columns:
    """What names in braces may mean in a file: its columns, but for the prompt itself."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = tuple(name for name in names if name and name != "prompt")
        self._alike: dict[str, list[str]] = {}
        for name in self.names:
            self._alike.setdefault(bare(name), []).append(name)

    def find(self, name: str) -> str | None:
        """The column of just that name, or the only one that is written nearly so."""
        alike = self._alike.get(bare(name), [])
        return name if name in alike else alike[0] if len(alike) == 1 else None

    def means_something(self, name: str, like_a_name: re.Pattern[str] = _LIKE_A_NAME) -> bool:
        """Whether a name in braces is no mere part of the text."""
        return like_a_name.fullmatch(name) is not None or self.find(name) is not None


_columns = lru_cache(maxsize=16)(_Columns)


def has_fields(prompt: str, columns: Iterable[str]) -> bool:
    """Whether filling a prompt may change it, or find something wrong with it."""
    if "{" not in prompt:
        return False
    known = _columns(tuple(columns))
    return any(known.means_something(found[2]) for found in _FIELD.finditer(prompt))


def filled_before(prompt: str, row: Mapping[str, Any]) -> str | None:
    """A prompt as earlier versions filled it, which left several words in braces as they were; None: no otherwise than now."""
    columns = _columns(tuple(row))
    names = {found[2] for found in _FIELD.finditer(prompt)}
    if all(columns.means_something(name, _WORD) for name in names if columns.means_something(name)):
        return None
    words, faults = filled(prompt, row, _WORD)
    return None if faults else words


def filled(
    prompt: str, row: Mapping[str, Any], like_a_name: re.Pattern[str] = _LIKE_A_NAME
) -> tuple[str, list[CellFault]]:
    """A prompt with the row's values in the place of its columns' names, and what stands in the way.

    That is each name in braces that is no column's or of which the row has no value, and a prompt that becomes too long; the
    prompt is left as it is then.

    Args:
        prompt: The prompt as it is written.
        row: The values of its row, by column.
        like_a_name: What is taken for a name although no column has it.
    """
    columns, length = _columns(tuple(row)), len(prompt)
    faults: dict[str, CellFault] = {}

    def replaced(found: re.Match[str]) -> str:
        nonlocal length
        before, name, after = found.groups()
        if not columns.means_something(name, like_a_name) or name in faults or _TOO_LONG in faults:
            return found[0]
        if len(faults) == _MOST_FAULTS:  # of a prompt that is full of them
            return found[0]
        # Braces that have no partner belong to the text around them.
        pairs = min(len(before), len(after))
        kept = pairs // 2
        try:
            value = _value(name, columns, row) if pairs % 2 else name
        except CellFault as fault:
            faults[name] = fault
            return found[0]
        length += len(value)
        if length > MAX_CELL_CHARS:
            allowed = f"up to {MAX_CELL_CHARS:,} characters"
            faults[_TOO_LONG] = CellFault("has too many characters once it is filled", allowed)
            return found[0]
        return f"{before[: len(before) - pairs]}{'{' * kept}{value}{'}' * kept}{after[: len(after) - pairs]}"

    words = _FIELD.sub(replaced, prompt)
    return (prompt if faults else words), [*faults.values()]


def escaped(prompt: str, columns: Iterable[str]) -> str:
    """A prompt that is filled already, so that it comes back as it is when it is filled once more."""
    if "{" not in prompt:
        return prompt
    known = _columns(tuple(columns))

    def doubled(found: re.Match[str]) -> str:
        before, name, after = found.groups()
        pairs = min(len(before), len(after))
        return f"{'{' * pairs}{found[0]}{'}' * pairs}" if known.means_something(name) else found[0]

    return _FIELD.sub(doubled, prompt)


def _value(name: str, columns: _Columns, row: Mapping[str, Any]) -> str:
    column = columns.find(name)
    if column is None:
        raise _no_column(name, columns.names)
    value = row[column]
    if is_blank(value):
        fault = f"has {{{name}}} in it, and the row has nothing in that column"
        raise CellFault(fault, "a value in each column that the prompt names")
    if isinstance(value, list | dict):
        fault = f"has {{{name}}} in it, and that column holds a list or a record"
        raise CellFault(fault, "text, numbers and dates")
    return str(as_text(value)).strip()


def _no_column(name: str, columns: tuple[str, ...]) -> CellFault:
    listed = ", ".join(f"{{{shown(column)}}}" for column in columns[:_SHOWN_COLUMNS])
    more = f" and {len(columns) - _SHOWN_COLUMNS} more" if len(columns) > _SHOWN_COLUMNS else ""
    near = nearest(name, columns, cutoff=0.7)
    fields = f"the columns {listed}{more}" if columns else "no name, since there are no other columns"
    return CellFault(
        f"has {{{name}}} in it, which names no column",
        f"in braces {fields}; {{{{{name}}}}} for the braces themselves",
        f"{{{shown(near)}}}" if near else "",
    )
