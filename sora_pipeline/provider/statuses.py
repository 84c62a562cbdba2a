"""The one table of status words, whichever provider says them.

Sources: the documented samples of the v3, unified and OpenAI formats, and the words public clients handle.
"""

from dataclasses import dataclass

from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.provider.protocol import PredictionState


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a status word means.

    Attributes:
        state: Where the prediction stands.
        failure: Why it has no video, where it failed.
        retryable: Whether a new attempt, and so a new bill, can help.
        known: False for a word that is not in the table.
    """

    state: PredictionState
    failure: ErrorKind = ErrorKind.PROVIDER_INTERNAL
    retryable: bool = False
    known: bool = True


_WAITING = Meaning(PredictionState.WAITING)
_RUNNING = Meaning(PredictionState.RUNNING)
_SUCCEEDED = Meaning(PredictionState.SUCCEEDED)
_FAILED = Meaning(PredictionState.FAILED, ErrorKind.PROVIDER_INTERNAL, retryable=True)
# Nobody here cancels: somebody did it on purpose, or the provider for reasons it does not tell. Paying again is a
# person's decision, and so it is for a prediction that expired, which may have been rendered and billed.
_CANCELLED = Meaning(PredictionState.FAILED, ErrorKind.CANCELLED, retryable=False)
_EXPIRED = Meaning(PredictionState.FAILED, ErrorKind.EXPIRED, retryable=False)
# GPTProto's own app reads it as "the server is busy, try later".
_NO_RESOURCE = Meaning(PredictionState.FAILED, ErrorKind.NO_RESOURCE, retryable=True)

_MEANINGS = {
    "created": _WAITING,
    "pending": _WAITING,
    "queued": _WAITING,
    "in_queue": _WAITING,
    "submitted": _WAITING,
    "starting": _WAITING,
    "processing": _RUNNING,
    "running": _RUNNING,
    "in_progress": _RUNNING,
    "completed": _SUCCEEDED,
    "complete": _SUCCEEDED,
    "succeeded": _SUCCEEDED,
    "success": _SUCCEEDED,
    "failed": _FAILED,
    "failure": _FAILED,
    "error": _FAILED,
    "cancelled": _CANCELLED,
    "canceled": _CANCELLED,
    "aborted": _CANCELLED,
    "expired": _EXPIRED,
    "timeout": _EXPIRED,
    "no_resource": _NO_RESOURCE,
}

# A word nobody has seen yet is no reason to give up a render that is paid for; the clip's deadline bounds it.
_UNKNOWN = Meaning(PredictionState.RUNNING, known=False)


def meaning_of(word: str) -> Meaning:
    """What a status word means, whatever its case and separators; unknown words count as running."""
    return _MEANINGS.get(word.strip().lower().replace("-", "_").replace(" ", "_"), _UNKNOWN)
