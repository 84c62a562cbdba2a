"""What status words mean, whichever provider says them: ``status_words.toml``, read once."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.provider.protocol import PredictionState


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status word means.

    Attributes:
        state: Where the prediction stands.
        failure: Why it has no video, where it failed.
        passes: Whether the word itself names a cause that is known to pass.
        known: False for a word that is not in the table.
    """

    state: PredictionState
    failure: ErrorKind = ErrorKind.PROVIDER_INTERNAL
    passes: bool = False
    known: bool = True


_FAILED = Meaning(PredictionState.FAILED)
# Nobody here cancels: somebody did it on purpose, or the provider for reasons it does not tell. Paying again is a
# person's decision, and so it is for a prediction that expired, which may have been rendered and billed.
_TABLES: Mapping[str, Meaning] = {
    "waiting": Meaning(PredictionState.WAITING),
    "running": Meaning(PredictionState.RUNNING),
    "succeeded": Meaning(PredictionState.SUCCEEDED),
    "failed": _FAILED,
    "content_policy": replace(_FAILED, failure=ErrorKind.CONTENT_POLICY),
    "invalid_request": replace(_FAILED, failure=ErrorKind.INVALID_REQUEST),
    "cancelled": replace(_FAILED, failure=ErrorKind.CANCELLED),
    "expired": replace(_FAILED, failure=ErrorKind.EXPIRED),
    "no_resource": replace(_FAILED, failure=ErrorKind.NO_RESOURCE, passes=True),
    "timeout": replace(_FAILED, passes=True),
}
# A word nobody has seen yet is no reason to give up a render that is paid for; the clip's deadline bounds it.
_UNKNOWN = Meaning(PredictionState.RUNNING, known=False)
_BEFORE = re.compile(r"^(task|job)?(state|status)(?=.)")


def meaning_of(word: str) -> Meaning:
    """What a status word means, whatever its case and separators; unknown words count as running."""
    compact = _compact(word)
    words = _words()
    return words.get(compact) or words.get(_BEFORE.sub("", compact), _UNKNOWN)


@cache
def _words() -> Mapping[str, Meaning]:
    with (files("sora_pipeline.provider") / "status_words.toml").open("rb") as file:
        tables = tomllib.load(file)
    return {
        _compact(word): meaning
        for name, meaning in _TABLES.items()
        for entry in tables[name]
        for word in entry["words"]
    }


def _compact(word: str) -> str:
    return re.sub(r"[\W_]+", "", word.casefold())
