"""Clip ids: readable, safe as file name and partition key, and the same however the rows are ordered."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from sora_pipeline.manifest.problems import ManifestError

MAX_ID_CHARS = 100
ID_RULE = f"up to {MAX_ID_CHARS} of A-Z a-z 0-9 _ - and single dots, beginning with a letter or digit, not ending in a dot"
_SAFE = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|$)){{0,{MAX_ID_CHARS - 1}}}", re.ASCII)
_WORD = re.compile(r"[a-z0-9]+")
_SLUG_WORDS = 5
_SLUG_CHARS = 40
_HASH_CHARS = (
    12  # 48 bits: one chance in 50,000 that any two of 100,000 rows with the same first words collide
)
_NAMED_CLASHES = 5

_Entry = tuple[int, str, bool]  # row number, id, whether the row gave it


def is_safe_id(text: str) -> bool:
    """Whether the text may be a clip id: no ``..`` (folders), no ``...`` (Dagster's partition ranges)."""
    return _SAFE.fullmatch(text) is not None


def derived_id(*, prompt: str, image: str | None, duration: Any, size: Any, model: Any) -> str:
    """The id of a row that gives none: first words of the prompt and a hash of what is asked for.

    Pass values with defaults filled in, so that writing a default out changes nothing. ``image`` is as written in the
    manifest, so that a moved folder keeps its ids.
    """
    content = "\0".join((prompt, image or "", str(duration), str(size), str(model)))  # no prompt holds a NUL
    digest = hashlib.sha256(content.encode()).hexdigest()
    return f"{slug(prompt)}-{digest[:_HASH_CHARS]}"


def slug(prompt: str) -> str:
    """The prompt's first words in ``a-z0-9-``; ``clip`` where it has none in Latin script."""
    # The first words are enough, and prompts can be long.
    plain = unicodedata.normalize("NFKD", prompt[:400]).encode("ascii", "ignore").decode().lower()
    kept = ""
    for word in _WORD.findall(plain)[:_SLUG_WORDS]:
        longer = f"{kept}-{word}" if kept else word[:_SLUG_CHARS]
        if len(longer) > _SLUG_CHARS:
            break
        kept = longer
    return kept or "clip"


def take_id(base: str, take: int) -> str:
    """The id of one take: the row's own for the first, ``-t2`` and so on appended for the others."""
    return base if take == 1 else f"{base}-t{take}"


def row_id(clip_id: str, take: int) -> str:
    """The id of the row that a take is of."""
    return clip_id if take == 1 else clip_id.removesuffix(f"-t{take}")


def require_distinct(uri: str, ids: Iterable[_Entry]) -> None:
    """Refuse a manifest in which two clips would share an id.

    Ids that differ only in case count as one, because they would share a folder on many file systems.

    Args:
        uri: The manifest.
        ids: Row number, id, and whether the row gave the id itself; of every clip, takes expanded, valid or not.

    Raises:
        ManifestError: naming the rows and what to do.
    """
    first: dict[str, _Entry] = {}
    by_rows: dict[
        tuple[int, int], tuple[_Entry, _Entry]
    ] = {}  # the first take that clashes stands for all of its row
    for entry in ids:
        other = first.setdefault(entry[1].lower(), entry)
        if other is not entry:
            by_rows.setdefault((other[0], entry[0]), (other, entry))
    clashes = [*by_rows.values()]
    if clashes:
        named = "; ".join(_clash(*pair) for pair in clashes[:_NAMED_CLASHES])
        more = f"; and {len(clashes) - _NAMED_CLASHES} more" if len(clashes) > _NAMED_CLASHES else ""
        reason = (
            f"{named}{more}. Every clip needs an id of its own, upper and lower case counting as the same. Where several "
            f"videos of one row are wanted, write the row once with takes=2 (or more); otherwise give each row a clip_id "
            f"of its own, or remove one."
        )
        raise ManifestError(uri, reason)


def _clash(one: _Entry, other: _Entry) -> str:
    rows = f"rows {one[0]} and {other[0]}"
    if not (one[2] or other[2]) and one[1] == other[1]:
        return f"{rows} ask for the same clip ({one[1]})"
    same = one[1] if one[1] == other[1] else f"{one[1]} and {other[1]}"
    return f"{rows} have the same clip id ({same})"
