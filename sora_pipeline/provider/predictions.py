"""From a poll's answer to a ``Prediction``.

A prediction may be paid for, so nothing is given up on a guess and nothing is polled for ever where the answer is there:

- An answer about another prediction is none about this one.
- A known status word decides, whatever outputs or errors stand beside it: thumbnails and poll URLs are shown while a clip renders.
- With a status word that nobody knows, an output means that it succeeded (fetching and decoding it decide), an error without an output that it
  failed, a date of completion without an error that it succeeded, and none of these that it is still running. Output and error together count
  as a success: a video that is no video is found out, one that is given up is paid for and lost.
"""

from dataclasses import replace

from sora_pipeline.provider.answers import Answer, read_answer
from sora_pipeline.provider.errors import ErrorKind, GenerationFailedError, TransientError
from sora_pipeline.provider.failures import classify_job_failure, classify_poll_failure
from sora_pipeline.provider.http import RawAnswer
from sora_pipeline.provider.prediction_ids import are_other_predictions
from sora_pipeline.provider.protocol import Prediction, PredictionState
from sora_pipeline.provider.statuses import Meaning, meaning_of
from sora_pipeline.provider.wording import tidy


def read_prediction(raw: RawAnswer, prediction_id: str, base_url: str, *, secret: str = "") -> Prediction:
    """What a poll found.

    Raises:
        TransientError: the answer describes no prediction, or another one (``OTHER_PREDICTION``).
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
    if are_other_predictions(prediction_id, answer.prediction_ids):
        other = tidy(f"{answer.prediction_ids[0]!r}", secret=secret)
        raise TransientError(
            ErrorKind.OTHER_PREDICTION,
            f"the provider answered about the prediction {other}, not about {prediction_id!r}, and is asked again",
            http_status=raw.status,
        )
    meaning = _meaning(answer, base_url)
    failed = meaning.state is PredictionState.FAILED
    succeeded = meaning.state is PredictionState.SUCCEEDED
    if not failed and answer.envelope_refusal_code is not None:
        # "completed" in an envelope that says 500 is neither a success nor a reason to give a paid render up.
        return _failed_by_refusal(raw, prediction_id, secret)
    outputs = answer.output_urls(base_url) if meaning.known else answer.certain_output_urls(base_url)
    return Prediction(
        prediction_id=prediction_id,
        state=meaning.state,
        provider_status=tidy(answer.status, secret=secret),
        output_urls=outputs if succeeded else (),
        error=classify_job_failure(answer, meaning, secret=secret) if failed else None,
        model_returned=tidy(answer.model, secret=secret) if answer.model else None,
        expires_at=answer.expires_at,
        warning=_oddities(answer, meaning, secret),
    )


def _meaning(answer: Answer, base_url: str) -> Meaning:
    """What the status word means, or where nobody knows it, what stands beside it."""
    meaning = meaning_of(answer.status or "")
    if meaning.known or (
        answer.progress is not None and answer.progress < 100 and not answer.job_names_error
    ):
        return meaning
    if answer.certain_output_urls(base_url):
        return replace(meaning, state=PredictionState.SUCCEEDED)
    if answer.job_names_error:
        return replace(meaning, state=PredictionState.FAILED)
    return replace(meaning, state=PredictionState.SUCCEEDED) if answer.is_dated_completed else meaning


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


_COUNTS_AS = {
    PredictionState.SUCCEEDED: "as a success, since an output or a date of completion came with it",
    PredictionState.FAILED: "as a failure, since an error and no output came with it",
}


def _oddities(answer: Answer, meaning: Meaning, secret: str) -> str | None:
    sentences = []
    succeeded = meaning.state is PredictionState.SUCCEEDED
    if not meaning.known:
        sentences.append(
            f"unknown status {answer.status!r} counts {_COUNTS_AS.get(meaning.state, 'as running')}"
        )
    if succeeded and answer.has_nsfw:
        sentences.append("the provider flags the output as not safe for work")
    if succeeded and answer.names_error:
        sentences.append(f"completed with an error: {answer.error_message}")
    return tidy("; ".join(sentences), secret=secret) if sentences else None
