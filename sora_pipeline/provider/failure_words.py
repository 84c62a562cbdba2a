"""Which cause a provider's codes and words name: ``failure_words.toml``, read once.

Two questions, answered with different care. What a failure is called may be guessed from any part of what was said. Whether it is
known to pass, so that a job is bought again, may not: there everything that was said has to be on the list.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.provider.reasons import Reasons

# The first that is named counts: an account before a clip, since accounts are suspended in the words of policies; a clip's own
# cause before a model's, since models are said not to support it.
_KINDS = (
    ErrorKind.NO_BALANCE,
    ErrorKind.ACCOUNT_SUSPENDED,
    ErrorKind.BAD_TOKEN,
    ErrorKind.CONTENT_POLICY,
    ErrorKind.IMAGE_MISMATCH,
    ErrorKind.MODEL_GONE,
    ErrorKind.INVALID_REQUEST,
)
ACCOUNT_KINDS = frozenset({ErrorKind.NO_BALANCE, ErrorKind.ACCOUNT_SUSPENDED, ErrorKind.BAD_TOKEN})
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"[\W_]+")
_SENTENCE_END = re.compile(r"[.,;:!?()\[\]{}<>|\n\"'`\u2018-\u201d\u2013\u2014\u3001\u3002]+")
_IDENTIFIER = re.compile(r"\b(request|trace|task|log)[ _-]?id\b\W*[\w-]*[0-9][\w-]*", re.IGNORECASE)
_SMALL_WORDS = frozenset(
    {"the", "a", "an", "our", "is", "are", "was", "been", "currently", "please", "sorry"}
)
_LONGEST_SENTENCES = 500
_HTTP_LIKE = re.compile(r"[0-9]{3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Cause:
    """One kind's vocabulary."""

    codes: frozenset[str]
    beginnings: tuple[str, ...]
    words: re.Pattern[str] | None
    weak_words: re.Pattern[str] | None
    patterns: re.Pattern[str] | None

    def is_named(self, reasons: Reasons, *, as_proof: bool) -> bool:
        if any(self.has_code(code) for code in reasons.codes):
            return True
        plain = _plain(reasons.text)
        found = [(self.words, plain), (self.patterns, reasons.text)]
        if not as_proof:
            found.append((self.weak_words, plain))
        return any(pattern is not None and pattern.search(text) for pattern, text in found)

    def has_code(self, code: str) -> bool:
        compact = _compact(code)
        return compact in self.codes or compact.startswith(self.beginnings)


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    causes: Mapping[ErrorKind, _Cause]
    unavailable: _Cause
    passing_codes: Mapping[str, ErrorKind]
    passing_sentences: Mapping[str, ErrorKind]
    neutral_codes: frozenset[str]
    neutral_sentences: frozenset[str]


def named_kind(reasons: Reasons, *, as_proof: bool = False, prompt: str = "") -> ErrorKind | None:
    """What the codes and words name, of the account, the model or the clip.

    Args:
        reasons: What was said.
        as_proof: Leave out what only says what a failure is about ("... nudity ..."), but not that anything was refused.
        prompt: What was asked for: words that stand there, too, may be an echo of it, cut short or spelt otherwise. They are no
            proof, and say nothing of an account.
    """
    causes = _vocabulary().causes
    asked = Reasons((), (prompt,))
    for kind in _KINDS:
        if not causes[kind].is_named(reasons, as_proof=as_proof):
            continue
        doubted = prompt and (as_proof or kind in ACCOUNT_KINDS) and not has_code_of(kind, reasons)
        if not (doubted and causes[kind].is_named(asked, as_proof=as_proof)):
            return kind
    return None


def has_code_of(kind: ErrorKind, reasons: Reasons) -> bool:
    """Whether one of the codes, and not just words, names this kind."""
    return any(_vocabulary().causes[kind].has_code(code) for code in reasons.codes)


def says_unavailable(reasons: Reasons) -> bool:
    """Whether the words are those of a server that takes nothing at the moment."""
    return _vocabulary().unavailable.is_named(reasons, as_proof=True)


def has_unavailable_code(reasons: Reasons) -> bool:
    """Whether a code says that nothing is taken at the moment, whatever the HTTP status."""
    return any(_vocabulary().unavailable.has_code(code) for code in reasons.codes)


def passing_kind(reasons: Reasons, status_kind: ErrorKind | None = None) -> ErrorKind | None:
    """The cause known to pass that these reasons name, where they say nothing else at all.

    Each code is on the list, or neutral; each text falls into sentences that are on the list, or neutral. A word more, a negation,
    an unknown code or an echo of the prompt, and it is None: what is not understood in full is not bought again.

    Args:
        reasons: What was said.
        status_kind: The cause that the status word itself names, where it is one that passes.
    """
    vocabulary = _vocabulary()
    found = [status_kind] if status_kind else []
    for code in reasons.codes:
        compact = _compact(code)
        if compact in vocabulary.passing_codes:
            found.append(vocabulary.passing_codes[compact])
        elif not (compact in vocabulary.neutral_codes or _is_neutral_number(compact)):
            return None
    for text in reasons.texts:
        if len(text) > _LONGEST_SENTENCES:
            return None
        for sentence in _sentences(text):
            if sentence in vocabulary.passing_sentences:
                found.append(vocabulary.passing_sentences[sentence])
            elif sentence not in vocabulary.neutral_sentences and sentence not in vocabulary.passing_codes:
                return None
    return found[0] if found else None


def is_neutral(text: str) -> bool:
    """Whether a text says nothing about a cause ("success", "task failed")."""
    return all(sentence in _vocabulary().neutral_sentences for sentence in _sentences(text))


def _is_neutral_number(code: str) -> bool:
    """An envelope's 200, or a 5xx beside words; a 4xx is the clip's own."""
    return _HTTP_LIKE.fullmatch(code) is not None and code[0] in "25"


def _plain(text: str) -> str:
    """Small letters and digits, one space between the words."""
    text = _CAMEL.sub(" ", _APOSTROPHE.sub("", unicodedata.normalize("NFKC", text)))
    return _NO_WORD.sub(" ", text.casefold()).strip()


def _compact(code: str) -> str:
    return _NO_WORD.sub("", unicodedata.normalize("NFKC", code).casefold())


def _sentences(text: str) -> Iterable[str]:
    """The text's sentences without small words; an id that is named in passing is none."""
    without_ids = _IDENTIFIER.sub(" ", _APOSTROPHE.sub("", unicodedata.normalize("NFKC", text)))
    for sentence in _SENTENCE_END.split(without_ids):
        words = [word for word in _NO_WORD.sub(" ", sentence.casefold()).split() if word not in _SMALL_WORDS]
        if words:
            yield " ".join(words)


@cache
def _vocabulary() -> _Vocabulary:
    with (files("sora_pipeline.provider") / "failure_words.toml").open("rb") as file:
        tables: dict[str, list[dict[str, Any]]] = tomllib.load(file)
    passing_codes: dict[str, ErrorKind] = {}
    passing_sentences: dict[str, ErrorKind] = {}
    for entry in tables["passing"]:
        kind = ErrorKind(entry["kind"])
        passing_codes |= {_compact(code): kind for code in entry.get("codes", ())}
        passing_sentences |= {_sentence(text): kind for text in entry.get("sentences", ())}
    neutral = tables["neutral"]
    return _Vocabulary(
        causes={kind: _cause(tables[kind.value]) for kind in _KINDS},
        unavailable=_cause(tables["unavailable"]),
        passing_codes=passing_codes,
        passing_sentences=passing_sentences,
        neutral_codes=frozenset(_compact(code) for entry in neutral for code in entry["codes"]),
        neutral_sentences=frozenset(_sentence(text) for entry in neutral for text in entry["sentences"]),
    )


def _sentence(text: str) -> str:
    (sentence,) = _sentences(text)
    return sentence


def _cause(entries: list[dict[str, Any]]) -> _Cause:
    codes = [code for entry in entries for code in entry.get("codes", ())]
    return _Cause(
        codes=frozenset(_compact(code) for code in codes if not code.endswith("*")),
        beginnings=tuple(_compact(code) for code in codes if code.endswith("*")),
        words=_words(entry for entry in entries if not entry.get("weak")),
        weak_words=_words(entry for entry in entries if entry.get("weak")),
        patterns=_either(pattern for entry in entries for pattern in entry.get("patterns", ())),
    )


def _words(entries: Iterable[dict[str, Any]]) -> re.Pattern[str] | None:
    # Chinese has no spaces between words.
    return _either(
        rf"\b(?:{words})\b" if words.isascii() else words
        for entry in entries
        for words in entry.get("words", ())
    )


def _either(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return re.compile(joined, re.IGNORECASE | re.DOTALL) if joined else None
