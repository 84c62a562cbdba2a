"""What a refusal or a failure means: from the provider's status and words to our error classes.

What is said in words about this clip or this account comes before what the number says, because vendors dress one as another
(GPTProto: "503 content policy violation (actual HTTP status 400)"; "Insufficient balance" and "Invalid Token" are both 403).
Where money may have been spent, doubt counts as spent; where it would be spent again, doubt counts as no.
"""

import re

from sora_pipeline.provider.answers import Answer, read_answer
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    GenerationFailedError,
    ModelGoneError,
    ProviderError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.failure_words import (
    ACCOUNT_KINDS,
    has_code_of,
    has_unavailable_code,
    is_neutral,
    named_kind,
    passing_kind,
    says_unavailable,
)
from sora_pipeline.provider.reasons import Reasons, read_reasons
from sora_pipeline.provider.statuses import Meaning, meaning_of
from sora_pipeline.provider.wording import tidy

# What a gateway says with a 500 or 503 of its own where the answer behind it did not come: accepted or not, it does not
# know. An address that cannot be connected to is not among them: there, nothing was sent.
_LOST_BEHIND = re.compile(
    r"server disconnected|disconnect/reset before headers|\b(connection|socket|peer|stream)\b[\w :]{0,20}\b(reset|closed|"
    r"aborted|lost|terminated|broken)\b|\bclosed (the )?connection\b|broken pipe|\btimed[ -]?out\b|\btime-?out\b|"
    r"deadline exceeded|\beof\b|incomplete (read|response|message)|payload is not completed|connection error\b|"
    r"\b(read|remote ?protocol) ?error\b|\bdo request failed\b",
    re.IGNORECASE,
)
# A check that was passed, or could not be made, has refused nothing.
_NOT_REFUSED = re.compile(
    r"\bpassed\b|\bno (\w+ ){0,3}(violations?|issues?|problems?)\b|\bnot (been )?(flagged|blocked|moderated|filtered|violat\w+)|"
    r"n['o]t violate|\b(unable|failed|could ?n[o']t) (to )?(be )?(check|verif|reach|run|complete|screen)|"
    r"\b(service|system|check|checker|server|api|filter|review) (is |was )?(currently |temporarily )?(un\w+able|failed|down|offline)",
    re.IGNORECASE,
)
_CLIP_KINDS = frozenset({ErrorKind.CONTENT_POLICY, ErrorKind.IMAGE_MISMATCH, ErrorKind.INVALID_REQUEST})
_SERVER_ERRORS = frozenset({500, 502, 503, 504})
_TELLING_FAILURES = frozenset({ErrorKind.CANCELLED, ErrorKind.CONTENT_POLICY})


def classify_submit_failure(
    http_status: int,
    content: bytes,
    *,
    retry_after_s: float | None = None,
    secret: str = "",
    prompt: str = "",
    server_errors_unbilled: bool = False,
) -> ProviderError:
    """What it means that an answer to a submit did not accept it.

    A 4xx proves that it was refused; the words say whether this clip, a model or the account is meant. A 403 is the account's
    unless its words are about this clip: without words, or as a page of HTML, it may come from a firewall that would turn every
    clip away.

    A 5xx proves nothing by itself. It is a refusal where its words name one (policy, a parameter, a model, the balance), and
    a 503 is "not now" where it says so: in words, with ``Retry-After``, or as a bare page of a gateway that reached nobody.

    Args:
        http_status: The HTTP status.
        content: The body.
        retry_after_s: What ``Retry-After`` asked for.
        secret: The key, to be redacted where it is echoed.
        prompt: What was asked for, so that an echo of it is not mistaken for the provider's words.
        server_errors_unbilled: Whether the account is known never to be billed for 500, 502, 503 and 504.
    """
    answer = read_answer(content)
    # A non-200 code inside HTTP 200 is a refusal like any other (seen in GPTProto's own app).
    refused = answer.refusal_code if 200 <= http_status < 300 else None
    status = refused or http_status
    message = _message(answer, http_status, secret)
    reasons = read_reasons(answer, prompt=prompt)

    def transient(kind: ErrorKind) -> TransientError:
        return TransientError(kind, message, retry_after_s=retry_after_s, http_status=http_status)

    def ambiguous(why: str = "") -> AmbiguousSubmitError:
        sentence = tidy(f"{why}: {message}") if why else message
        return AmbiguousSubmitError(ErrorKind.AMBIGUOUS_SUBMIT, sentence, http_status=http_status)

    if status < 300:
        return ambiguous("the answer names no prediction")
    if status >= 500 or status == 408:
        kind = _refusal_in_words(answer, status, reasons, prompt)
        if kind is not None:
            return _refusal(kind, message, http_status)
        if status in _SERVER_ERRORS and server_errors_unbilled:
            return transient(ErrorKind.UNAVAILABLE)
        if status in (502, 504, 408) or _lost_behind(answer, reasons):
            return ambiguous("the request may have been accepted behind a gateway")
        if status == 503 and _refused_for_now(answer, reasons, retry_after_s):
            return transient(ErrorKind.UNAVAILABLE)
        return ambiguous()
    stated_kind = _stated_kind(answer, status, reasons, prompt)
    if status == 429:
        blocked = stated_kind in (ErrorKind.NO_BALANCE, ErrorKind.ACCOUNT_SUSPENDED)
        return (
            BlockedError(stated_kind, message, http_status=http_status)
            if blocked and stated_kind
            else transient(ErrorKind.RATE_LIMITED)
        )
    if status == 425 or (status == 400 and has_unavailable_code(reasons)):
        return transient(ErrorKind.UNAVAILABLE)
    kind = _kind_of_client_error(answer, status, stated_kind)
    return ambiguous() if kind is None else _refusal(kind, message, http_status)


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
    reasons = read_reasons(answer)
    stated_kind = _stated_kind(answer, status, reasons)
    if status in (400, 403, 422, 451, 503) and _is_late_policy(answer, status, reasons):
        return GenerationFailedError(
            ErrorKind.CONTENT_POLICY, message, retryable=False, http_status=http_status
        )
    if status in (401, 403) or (stated_kind is ErrorKind.BAD_TOKEN and status == 400):
        of_the_account = stated_kind in ACCOUNT_KINDS and status != 401
        kind = stated_kind if of_the_account and stated_kind else ErrorKind.BAD_TOKEN
        return BlockedError(kind, message, http_status=http_status)
    if status == 410:
        return GenerationFailedError(ErrorKind.EXPIRED, message, retryable=False, http_status=http_status)
    kind = {404: ErrorKind.EXPIRED, 429: ErrorKind.RATE_LIMITED}.get(status, ErrorKind.UNAVAILABLE)
    if status < 300:
        kind = ErrorKind.UNREADABLE_ANSWER
    return TransientError(kind, message, retry_after_s=retry_after_s, http_status=http_status)


def classify_job_failure(answer: Answer, meaning: Meaning, *, secret: str = "") -> GenerationFailedError:
    """Why an accepted job ended without a video, and whether another attempt may be bought by itself.

    It may where the status word, the codes and the words all name causes that are known to pass, and nothing else is said
    (``failure_words.passing_kind``). A clip's own cause beside them, words that nobody knows, or no words at all: a person decides.
    """
    reasons = read_reasons(answer)
    message = _job_message(answer, reasons, secret)
    meaning = _in_other_words(answer, meaning)
    if meaning.failure in (ErrorKind.CANCELLED, ErrorKind.EXPIRED):
        return GenerationFailedError(meaning.failure, message, retryable=False)
    passing = passing_kind(reasons, meaning.failure if meaning.passes else None)
    kind = _stated_kind(answer, 400, reasons)
    if kind is ErrorKind.CONTENT_POLICY and passing is not None and not _is_policy_in_words(reasons):
        kind = None  # only the number, and the words are those of an outage
    if kind is None and answer.has_nsfw:
        kind = ErrorKind.CONTENT_POLICY
    if kind is None and meaning.failure in _CLIP_KINDS:
        kind = meaning.failure
    if kind is None and {400, 422} & set(answer.numeric_codes):
        kind = ErrorKind.INVALID_REQUEST
    if kind is not None:
        return GenerationFailedError(kind, message, retryable=False)
    if passing is not None and meaning.known:
        return GenerationFailedError(passing, message, retryable=True)
    return GenerationFailedError(meaning.failure, message, retryable=False)


def _in_other_words(answer: Answer, meaning: Meaning) -> Meaning:
    """What the upstream's own status or the error's code says, where the format has no status word for it."""
    if meaning.failure is not ErrorKind.PROVIDER_INTERNAL:
        return meaning
    closer = (meaning_of(word) for word in (answer.native_status, *answer.error_codes) if word)
    return next((other for other in closer if other.failure in _TELLING_FAILURES), meaning)


def _refusal(kind: ErrorKind, message: str, http_status: int) -> ProviderError:
    if kind is ErrorKind.MODEL_GONE:
        return ModelGoneError(kind, message, http_status=http_status)
    error = RejectedError if kind in _CLIP_KINDS else BlockedError
    return error(kind, message, http_status=http_status)


def _kind_of_client_error(answer: Answer, status: int, stated_kind: ErrorKind | None) -> ErrorKind | None:
    """What a 3xx or 4xx is about; None: what it is cannot be said."""
    if 300 <= status < 400 or (status in (404, 405) and not answer.is_json):
        # A redirect, or a page instead of an API answer: every clip would meet the same.
        return ErrorKind.WRONG_ADDRESS
    if status == 401:
        return stated_kind if stated_kind is ErrorKind.ACCOUNT_SUSPENDED else ErrorKind.BAD_TOKEN
    if status == 402:
        return ErrorKind.NO_BALANCE
    if status == 403:
        return stated_kind or ErrorKind.BAD_TOKEN
    if stated_kind is not None and not (stated_kind is ErrorKind.BAD_TOKEN and status != 400):
        return stated_kind
    return ErrorKind.INVALID_REQUEST if 400 <= status < 500 else None


def _refusal_in_words(answer: Answer, status: int, reasons: Reasons, prompt: str) -> ErrorKind | None:
    """What a 5xx says it refused, where its words leave no doubt."""
    if status not in (500, 503) or _lost_behind(answer, reasons):
        return None
    kind = named_kind(reasons, as_proof=True, prompt=prompt)
    if kind in (None, ErrorKind.BAD_TOKEN) or (kind in _CLIP_KINDS and not _is_refused(kind, reasons)):
        return None
    # "the model is temporarily unavailable" with a 503 is an outage, unless a code says that there is no such model.
    outage = status == 503 and kind is ErrorKind.MODEL_GONE and not has_code_of(kind, reasons)
    return None if outage else kind


def _is_refused(kind: ErrorKind, reasons: Reasons) -> bool:
    """Whether words about a clip say that it was refused, and not that a check was passed or could not be made."""
    return has_code_of(kind, reasons) or not _NOT_REFUSED.search(reasons.text)


def _refused_for_now(answer: Answer, reasons: Reasons, retry_after_s: float | None) -> bool:
    """Whether a 503 says that no server took the request."""
    says_nothing = not answer.body and not any(re.search(r"[^\W\d]", text) for text in reasons.texts)
    return retry_after_s is not None or says_nothing or says_unavailable(reasons)


def _stated_kind(answer: Answer, status: int, reasons: Reasons, prompt: str = "") -> ErrorKind | None:
    """What the provider's codes and words say, if anything; pages of HTML are no words."""
    if status == 400 and 503 in answer.numeric_codes:
        return ErrorKind.CONTENT_POLICY
    return named_kind(reasons, prompt=prompt)


def _is_late_policy(answer: Answer, status: int, reasons: Reasons) -> bool:
    """Whether a poll that failed speaks of the clip's content, and not of a check that is out of order: the clip is paid for."""
    if status == 400 and 503 in answer.numeric_codes:
        return True
    named = named_kind(reasons, as_proof=True) is ErrorKind.CONTENT_POLICY
    return named and _is_refused(ErrorKind.CONTENT_POLICY, reasons) and not _lost_behind(answer, reasons)


def _is_policy_in_words(reasons: Reasons) -> bool:
    return named_kind(reasons) is ErrorKind.CONTENT_POLICY


def _lost_behind(answer: Answer, reasons: Reasons) -> bool:
    return _LOST_BEHIND.search(f"{reasons.text} {answer.text[:4000]}") is not None


def _message(answer: Answer, http_status: int, secret: str) -> str:
    words = answer.error_message or " ".join(answer.text.split())[:200]
    return tidy(
        f"HTTP {http_status}: {words}" if words else f"HTTP {http_status} without a reason", secret=secret
    )


def _job_message(answer: Answer, reasons: Reasons, secret: str) -> str:
    """The error's own words, else any that say something, else its code."""
    codes = (code for code in reasons.codes if not code.isdigit())
    said = (
        words for words in (answer.error_message, *reasons.texts, *codes) if words and not is_neutral(words)
    )
    return tidy(next(said, f"the provider gave no reason (status {answer.status!r})"), secret=secret)
