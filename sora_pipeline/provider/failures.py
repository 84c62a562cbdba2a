"""What a refusal or a failure means: from the provider's status and words to our error classes.

The rules are ordered: what is said in words about this clip or this account comes before what the number says, because
vendors dress one as another (GPTProto: "503 content policy violation (actual HTTP status 400)"; "Insufficient balance"
and "Invalid Token" are both 403). Where money may have been spent, doubt counts as spent.
"""

import re

from sora_pipeline.provider.answers import Answer, read_answer
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    GenerationFailedError,
    ProviderError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.statuses import Meaning, meaning_of
from sora_pipeline.provider.wording import tidy

# An echoed prompt must not be read as the provider's words; shorter ones are no sentence to stumble over.
_MIN_ECHO = 20

_WORDS: tuple[tuple[ErrorKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for kind, pattern in (
        (
            ErrorKind.NO_BALANCE,
            r"insufficient[ _-]+(user[ _-]+)?(balance|quota|credit|fund)|balance (is )?(too low|not enough)|billing hard limit",
        ),
        (
            ErrorKind.BAD_TOKEN,
            # LiteLLM without a database says no_db_connection to every key but its master key.
            r"invalid_api_key|invalid token|invalid signature|token cannot be empty|no_db_connection",
        ),
        (
            ErrorKind.CONTENT_POLICY,
            r"moderation|content[ _-]?(policy|filter|violation)|guidelines|usage polic(y|ies)|safety (system|filter)|"
            r"people-in-user-uploads|responsible ai\b|nsfw|sensitive[ _-]content|inappropriate content",
        ),
        (
            ErrorKind.MODEL_GONE,
            r"\b(unknown|unsupported|retired|deprecated|disabled) (\w+ )?model\b|\binvalid model name\b|"
            r"model[ _]?(not[ _]found|not[ _]exist)|"
            r"\bmodels?\b[\s:`'\"]*[\w./-]*[`'\"]*[\s:,]*(is |are |was |has been |have been |does |currently )*"
            r"(not found|not exist|unknown|unsupported|not supported|unavailable|not available|no longer|retired|"
            r"deprecated|removed|shut ?down|discontinued|temporarily paused|paused|disabled|offline)|temporarily paused",
        ),
        (
            ErrorKind.IMAGE_MISMATCH,
            r"(image|input_reference|frame).{0,80}\bmatch.{0,80}(width|height|size|dimension|resolution)|"
            r"(image|input_reference|frame).{0,40}(width|height|size|dimensions?|resolution).{0,40}(match|mismatch)",
        ),
        (
            ErrorKind.NO_RESOURCE,
            r"no[ _]resources?\b|server (is )?busy|too many running tasks|(over|out of) capacity",
        ),
    )
)
# What a gateway says with a 500 or 503 of its own where the answer behind it did not come: accepted or not, it does not
# know. An address that cannot be connected to is not among them: there, nothing was sent.
_LOST_BEHIND = re.compile(
    r"server disconnected|disconnect/reset before headers|\b(connection|socket|peer|stream)\b[\w :]{0,20}\b(reset|closed|"
    r"aborted|lost|terminated|broken)\b|\bclosed (the )?connection\b|broken pipe|\btimed[ -]?out\b|\btime-?out\b|"
    r"deadline exceeded|\beof\b|incomplete (read|response|message)|payload is not completed|connection error\b|"
    r"\b(read|remote ?protocol) ?error\b|\bdo request failed\b",
    re.IGNORECASE,
)
_NO_RETRY_KINDS = frozenset(
    {
        ErrorKind.CONTENT_POLICY,
        ErrorKind.IMAGE_MISMATCH,
        ErrorKind.MODEL_GONE,
        ErrorKind.NO_BALANCE,
        ErrorKind.BAD_TOKEN,
        ErrorKind.INVALID_REQUEST,
    }
)
_TELLING_FAILURES = frozenset({ErrorKind.CANCELLED, ErrorKind.NO_RESOURCE})


def classify_submit_failure(
    http_status: int,
    content: bytes,
    *,
    retry_after_s: float | None = None,
    secret: str = "",
    prompt: str = "",
) -> ProviderError:
    """What it means that an answer to a submit did not accept it.

    Args:
        http_status: The HTTP status.
        content: The body.
        retry_after_s: What ``Retry-After`` asked for.
        secret: The key, to be redacted where it is echoed.
        prompt: What was asked for, so that an echo of it is not mistaken for the provider's words.
    """
    answer = read_answer(content)
    # A non-200 code inside HTTP 200 is a refusal like any other (seen in GPTProto's own app).
    refused = answer.refusal_code if 200 <= http_status < 300 else None
    status = refused or http_status
    message = _message(answer, http_status, secret)
    stated_kind = _stated_kind(answer, status, prompt)

    if status in (502, 504, 408) or (200 <= status < 300):
        why = (
            "the answer names no prediction"
            if status < 300
            else "the request may have been accepted behind a gateway"
        )
        return AmbiguousSubmitError(
            ErrorKind.AMBIGUOUS_SUBMIT, tidy(f"{why}: {message}"), http_status=http_status
        )
    if blocked := _blocks_everything(status, stated_kind, answer):
        return BlockedError(blocked, message, http_status=http_status)
    if status == 429:
        return TransientError(
            ErrorKind.RATE_LIMITED, message, retry_after_s=retry_after_s, http_status=http_status
        )
    if rejected := _rejects_this_clip(status, stated_kind):
        return RejectedError(rejected, message, http_status=http_status)
    if status in (500, 503) and _lost_behind(answer, prompt):
        return AmbiguousSubmitError(
            ErrorKind.AMBIGUOUS_SUBMIT,
            tidy(f"the request may have been accepted behind a gateway: {message}"),
            http_status=http_status,
        )
    if status in (425, 500, 503):
        return TransientError(
            ErrorKind.UNAVAILABLE, message, retry_after_s=retry_after_s, http_status=http_status
        )
    return AmbiguousSubmitError(ErrorKind.AMBIGUOUS_SUBMIT, message, http_status=http_status)


def classify_poll_failure(
    http_status: int, content: bytes, *, retry_after_s: float | None = None, secret: str = ""
) -> GenerationFailedError | TransientError | BlockedError:
    """What it means that an answer to a poll describes no prediction.

    A poll that goes wrong says nothing about the prediction, with three exceptions: the late content-policy error (HTTP 400
    whose body says 503; the vendor lists it on the query page, too), a key that is no longer accepted, and 410.

    A 404 is ``TransientError(EXPIRED)``: a fresh prediction may not have reached every server of the provider yet, and a
    proxy in trouble says 404 as well. Who polls should give up only after several in a row.
    """
    answer = read_answer(content)
    refused = answer.refusal_code if 200 <= http_status < 300 else None
    status = refused or http_status
    message = _message(answer, http_status, secret)
    stated_kind = _stated_kind(answer, status, "")
    if stated_kind is ErrorKind.CONTENT_POLICY and status in (400, 403, 422, 451, 503):
        return GenerationFailedError(stated_kind, message, retryable=False, http_status=http_status)
    if status in (401, 403) or (stated_kind is ErrorKind.BAD_TOKEN and status == 400):
        no_balance = stated_kind is ErrorKind.NO_BALANCE and status == 403
        kind = ErrorKind.NO_BALANCE if no_balance else ErrorKind.BAD_TOKEN
        return BlockedError(kind, message, http_status=http_status)
    if status == 410:
        return GenerationFailedError(ErrorKind.EXPIRED, message, retryable=False, http_status=http_status)
    kind = {404: ErrorKind.EXPIRED, 429: ErrorKind.RATE_LIMITED}.get(status, ErrorKind.UNAVAILABLE)
    if status < 300:
        kind = ErrorKind.UNREADABLE_ANSWER
    return TransientError(kind, message, retry_after_s=retry_after_s, http_status=http_status)


def classify_job_failure(answer: Answer, meaning: Meaning, *, secret: str = "") -> GenerationFailedError:
    """Why an accepted job ended without a video: the status word, refined by what ``error`` says."""
    message = _message(answer, None, secret)
    meaning = _in_other_words(answer, meaning)
    if meaning.failure is not ErrorKind.PROVIDER_INTERNAL:
        return GenerationFailedError(meaning.failure, message, retryable=meaning.retryable)
    stated_kind = _stated_kind(answer, 400, "")
    if stated_kind is None and answer.has_nsfw:
        stated_kind = ErrorKind.CONTENT_POLICY
    if stated_kind is None and (
        {400, 422} & set(answer.numeric_codes) or "invalid_request_error" in answer.error_codes
    ):
        stated_kind = ErrorKind.INVALID_REQUEST
    if stated_kind is None:
        return GenerationFailedError(meaning.failure, message, retryable=meaning.retryable)
    return GenerationFailedError(stated_kind, message, retryable=stated_kind not in _NO_RETRY_KINDS)


def _in_other_words(answer: Answer, meaning: Meaning) -> Meaning:
    """What the upstream's own status or the error's code says, where the format has no status word for it."""
    if meaning.failure is not ErrorKind.PROVIDER_INTERNAL:
        return meaning
    closer = (meaning_of(word) for word in (answer.native_status, *answer.error_codes) if word)
    return next((other for other in closer if other.failure in _TELLING_FAILURES), meaning)


def _blocks_everything(status: int, stated_kind: ErrorKind | None, answer: Answer) -> ErrorKind | None:
    if stated_kind is ErrorKind.NO_BALANCE and status in (400, 402, 403, 429):
        return stated_kind
    if stated_kind is ErrorKind.CONTENT_POLICY:
        return None if status != 401 else ErrorKind.BAD_TOKEN
    if status in (401, 403) or (stated_kind is ErrorKind.BAD_TOKEN and status == 400):
        return ErrorKind.BAD_TOKEN
    if status == 402:
        return ErrorKind.NO_BALANCE
    if stated_kind is ErrorKind.MODEL_GONE and status in (400, 404, 410, 422, 500):
        return stated_kind
    if 300 <= status < 400 or (status in (404, 405) and not answer.is_json):
        # A redirect, or a page instead of an API answer: every clip would meet the same.
        return ErrorKind.WRONG_ADDRESS
    return None


def _rejects_this_clip(status: int, stated_kind: ErrorKind | None) -> ErrorKind | None:
    if stated_kind is ErrorKind.CONTENT_POLICY and (status < 500 or status in (500, 503)):
        return stated_kind
    if stated_kind is ErrorKind.IMAGE_MISMATCH and status in (400, 422):
        return stated_kind
    return ErrorKind.INVALID_REQUEST if 400 <= status < 500 and status != 425 else None


def _stated_kind(answer: Answer, status: int, prompt: str) -> ErrorKind | None:
    """What the provider's words say, if anything; pages of HTML are no words."""
    if status == 400 and 503 in answer.numeric_codes:
        return ErrorKind.CONTENT_POLICY
    words = _words(answer, prompt)
    return next((kind for kind, pattern in _WORDS if pattern.search(words)), None)


def _lost_behind(answer: Answer, prompt: str) -> bool:
    return _LOST_BEHIND.search(_words(answer, prompt)) is not None


def _words(answer: Answer, prompt: str) -> str:
    """Without an echo of the prompt, and bounded, so that no answer can make patterns slow."""
    words = " ".join((*answer.error_codes, answer.error_message))
    if len(prompt) >= _MIN_ECHO:
        words = words.replace(prompt, "")
    return words[:4000]


def _message(answer: Answer, http_status: int | None, secret: str) -> str:
    words = answer.error_message or " ".join(answer.text.split())[:200]
    if not words and http_status is None:
        words = f"the provider gave no reason (status {answer.status!r})"
    if http_status is None:
        return tidy(words, secret=secret)
    return tidy(
        f"HTTP {http_status}: {words}" if words else f"HTTP {http_status} without a reason", secret=secret
    )
