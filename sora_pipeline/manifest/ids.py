"""Clip ids: readable, safe as file name and partition key, and the same however the rows are ordered."""

import hashlib
import re
import unicodedata
from array import array
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from sora_pipeline.clip import canonical_json

MAX_ID_CHARS = 100
ID_RULE = f"up to {MAX_ID_CHARS} of A-Z a-z 0-9 _ - and single dots, beginning with a letter or digit, not ending in a dot"
_SAFE = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|$)){{0,{MAX_ID_CHARS - 1}}}", re.ASCII)
_WORD = re.compile(r"[a-z0-9]+")
_SLUG_WORDS = 5
_SLUG_CHARS = 40
_HASH_CHARS = (
    12  # 48 bits: one chance in 50,000 that any two of 100,000 rows with the same first words collide
)
_PARTS = 64
"""Parts of the hashes that are looked at one after the other."""


def is_safe_id(text: str) -> bool:
    """Whether the text may be a clip id: no ``..`` (folders), no ``...`` (Dagster's partition ranges)."""
    return _SAFE.fullmatch(text) is not None


def derived_id(
    *,
    prompt: str,
    image: str | None,
    duration: Any,
    size: Any,
    model: Any,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """The id of a row that gives none: first words of the prompt and a hash of what is asked for.

    Pass values with defaults filled in, so that writing a default out changes nothing. ``image`` is as written in the
    manifest, so that a moved folder keeps its ids.
    """
    content = "\0".join((prompt, image or "", str(duration), str(size), str(model)))  # no prompt holds a NUL
    if parameters:
        content += f"\0{canonical_json(parameters)}"
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


class IdHashes:
    """Hashes of all ids of a manifest, 8 bytes each: which of them may be there twice."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(_PARTS)]

    def add(self, clip_ids: Iterable[str]) -> None:
        """Note ids."""
        for clip_id in clip_ids:
            hashed = hash(clip_id.lower())
            self._parts[hashed % _PARTS].append(hashed)

    def repeated(self) -> frozenset[int]:
        """Hashes that were noted more than once."""
        found: set[int] = set()
        for part in self._parts:
            seen: set[int] = set()
            found.update(hashed for hashed in part if hashed in seen or seen.add(hashed))  # type: ignore[func-returns-value]
        return frozenset(found)


def is_any_twice(clip_ids: Iterable[str], repeated: Collection[int]) -> bool:
    """Whether two of these ids are the same but for their case.

    Args:
        clip_ids: Ids.
        repeated: What ``IdHashes`` found; ids of other hashes are not looked at. Two ids may share a hash, and are told apart here.
    """
    seen: set[str] = set()
    alike = (clip_id.lower() for clip_id in clip_ids if hash(clip_id.lower()) in repeated) if repeated else ()
    return any(clip_id in seen or seen.add(clip_id) for clip_id in alike)  # type: ignore[func-returns-value]
