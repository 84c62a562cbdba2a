"""What can be asked of a provider without spending anything: is the key good, does a model exist."""

from sora_pipeline.provider.answers import Answer, read_answer
from sora_pipeline.provider.errors import BlockedError, ErrorKind
from sora_pipeline.provider.failures import classify_poll_failure, classify_submit_failure
from sora_pipeline.provider.http import RawAnswer
from sora_pipeline.provider.protocol import KeyCheck


def read_key_check(raw: RawAnswer, *, secret: str = "") -> KeyCheck:
    """What an answer to a harmless request says about the key."""
    answer = read_answer(raw.content)
    if 200 <= raw.status < 300 and answer.is_json and not answer.names_error:
        return KeyCheck(accepted=True, message="the provider accepts the key")
    error = classify_poll_failure(raw.status, raw.content, secret=secret)
    if isinstance(error, BlockedError):
        # Without money the key is good, and of no use.
        return KeyCheck(accepted=error.kind is ErrorKind.NO_BALANCE, message=error.message, kind=error.kind)
    return KeyCheck(accepted=None, message=f"the provider does not say: {error.message}", kind=error.kind)


def read_model_check(raw: RawAnswer) -> bool | None:
    """What an answer to a question for one model says; None where it says nothing about the model.

    A 404 alone is no answer: most hosts of these formats have no such route.
    """
    answer = read_answer(raw.content)
    if 200 <= raw.status < 300 and answer.is_json and not answer.names_error:
        return _describes_something(answer) or None
    error = classify_submit_failure(raw.status, raw.content)
    return False if error.kind is ErrorKind.MODEL_GONE else None


def _describes_something(answer: Answer) -> bool:
    return any(value not in (None, "", [], {}) for value in answer.job.values())
