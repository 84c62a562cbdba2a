"""What a value that is not allowed was probably meant to be. Nothing is taken for it: a person writes it, or something else."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

_LONGEST = 100
_FEWEST = 4
"""Letters of a name's beginning that may stand for it."""
_SIGNS = re.compile(r"[\W_]+")
_DIGITS = re.compile(r"[0-9]+")
_TWO_NUMBERS = re.compile(r"\D*([0-9]{2,5})\D{1,8}([0-9]{2,5})\D*")


def nearest(written: str, allowed: Iterable[str], cutoff: float = 0.8) -> str:
    """The one that comes nearest, upper and lower case counting as the same; empty: none comes near."""
    if len(written) > _LONGEST:
        return ""
    lower = written.lower()
    names = sorted(allowed, key=len, reverse=True)  # of two that begin alike the shorter one is meant
    same = [name for name in names if _letters(name) == _letters(written)]
    # Another number is another version, and no slip.
    alike = {name.lower(): name for name in names if _DIGITS.findall(name) == _DIGITS.findall(written)}
    near = difflib.get_close_matches(lower, alike, n=1, cutoff=cutoff)
    if same or near:
        return same[-1] if same else alike[near[0]]
    begun = {name[: len(lower)]: meant for name, meant in alike.items()} if len(lower) >= _FEWEST else {}
    return "".join(begun[name] for name in difflib.get_close_matches(lower, begun, n=1, cutoff=cutoff))


def did_you_mean(written: str, allowed: Iterable[str]) -> str:
    """A question to be put behind a sentence; empty: none of them comes near."""
    near = nearest(written, allowed)
    return f" Did you mean {near}?" if near else ""


def nearest_size(written: Any, allowed: Sequence[str]) -> str:
    """The same of sizes, where two numbers are joined by something else than an x."""
    short = isinstance(written, str) and len(written) <= _LONGEST
    numbers = _TWO_NUMBERS.fullmatch(written) if short else None
    if numbers is None:
        return ""
    return "".join(difflib.get_close_matches(f"{numbers[1]}x{numbers[2]}", allowed, n=1, cutoff=0.8))


def _letters(text: str) -> str:
    return _SIGNS.sub("", text).lower()
