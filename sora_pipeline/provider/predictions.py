"""From a poll's answer to a ``Prediction``."""

from sora_pipeline.provider.answers import Answer, read_answer
from sora_pipeline.provider.errors import ErrorKind, GenerationFailedError, TransientError
from sora_pipeline.provider.failures import classify_job_failure, classify_poll_failure
from sora_pipeline.provider.http import RawAnswer
from sora_pipeline.provider.prediction_ids import is_other_prediction
from sora_pipeline.provider.protocol import Prediction, PredictionState
from sora_pipeline.provider.statuses import meaning_of
from sora_pipeline.provider.wording import tidy


def read_prediction(raw: RawAnswer, prediction_id: str, base_url: str, *, secret: str = "") -> Prediction:
    """What a poll found.

    Raises:
        TransientError: the answer describes no prediction.
        BlockedError: the key is no longer accepted.
    """
    answer = read_answer(raw.content).about(prediction_id)
    if not 200 <= raw.status < 300:
        return _failed_by_refusal(raw, prediction_id, secret)
    if answer.status is None:
        if answer.names_error:
            return _failed_by_refusal(raw, prediction_id, secret)
        raise TransientError(
            ErrorKind.UNREADABLE_ANSWER, "the answer to a poll names no status", http_status=raw.status
        )
    meaning = meaning_of(answer.status)
    failed = meaning.state is PredictionState.FAILED
    if not failed and answer.refusal_code is not None:
        # "completed" in an envelope that says 500 is neither a success nor a reason to give a paid render up.
        return _failed_by_refusal(raw, prediction_id, secret)
    succeeded = meaning.state is PredictionState.SUCCEEDED
    return Prediction(
        prediction_id=prediction_id,
        state=meaning.state,
        provider_status=tidy(answer.status, secret=secret),
        output_urls=answer.output_urls(base_url) if succeeded else (),
        error=classify_job_failure(answer, meaning, secret=secret) if failed else None,
        model_returned=tidy(answer.model, secret=secret) if answer.model else None,
        expires_at=answer.expires_at,
        warning=_oddities(answer, prediction_id, secret, known=meaning.known, succeeded=succeeded),
    )


def _failed_by_refusal(raw: RawAnswer, prediction_id: str, secret: str) -> Prediction:
    error = classify_poll_failure(raw.status, raw.content, retry_after_s=raw.retry_after_s, secret=secret)
    if not isinstance(error, GenerationFailedError):
        raise error
    return Prediction(
        prediction_id=prediction_id,
        state=PredictionState.FAILED,
        provider_status=f"http_{raw.status}",
        error=error,
    )


def _oddities(answer: Answer, prediction_id: str, secret: str, *, known: bool, succeeded: bool) -> str | None:
    sentences = []
    if not known:
        sentences.append(f"unknown status {answer.status!r} counts as running")
    if is_other_prediction(prediction_id, answer.prediction_id):
        sentences.append(f"the answer is about {answer.prediction_id!r}, not {prediction_id!r}")
    if succeeded and answer.has_nsfw:
        sentences.append("the provider flags the output as not safe for work")
    if succeeded and answer.names_error:
        sentences.append(f"completed with an error: {answer.error_message}")
    return tidy("; ".join(sentences), secret=secret) if sentences else None
