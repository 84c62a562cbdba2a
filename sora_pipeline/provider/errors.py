"""Everything that can go wrong at the provider, sorted by what it means for the money.

::

    ProviderError
    ├── TransientError        not accepted, not billed: the same request may be sent again later
    ├── AmbiguousSubmitError  the request left, the answer was lost: it may have been billed; never re-sent alone
    ├── RejectedError         this clip only: content policy, invalid parameters; never re-sent
    ├── GenerationFailedError a job that was accepted ended without a video
    ├── ModelGoneError        clips of one model wait: it is gone, retired or paused
    └── BlockedError          everything stops: bad token, no balance, account suspended, wrong address
"""

from enum import StrEnum

from sora_pipeline.errors import SoraPipelineError


class ErrorKind(StrEnum):
    """Why a clip has no video, in one word: the ``error_kind`` column."""

    CONNECT = "connect"  # nothing was sent: DNS, refused, TLS, connect timeout
    RATE_LIMITED = "rate_limited"  # HTTP 429
    UNAVAILABLE = "unavailable"  # HTTP 503 of a server that took nothing; any 5xx on a poll
    AMBIGUOUS_SUBMIT = "ambiguous_submit"  # read timeout, disconnect, HTTP 500, 502, 504 on a submit
    CONTENT_POLICY = "content_policy"  # prompt or image were refused for what they show
    INVALID_REQUEST = "invalid_request"  # how the clip was asked for was refused
    IMAGE_MISMATCH = "image_mismatch"  # the image does not fit the clip
    NO_RESOURCE = "no_resource"  # the provider was too busy for an accepted job
    PROVIDER_INTERNAL = "provider_internal"  # an accepted job failed, and no cause of the clip's was named
    CANCELLED = "cancelled"  # at the provider
    EXPIRED = "expired"  # the prediction or its output is gone
    NO_OUTPUT = "no_output"  # completed, but no output URL came
    BAD_TOKEN = "bad_token"  # the key is not accepted  # noqa: S105
    NO_BALANCE = "no_balance"  # the account is empty
    ACCOUNT_SUSPENDED = "account_suspended"  # by the provider
    MODEL_GONE = "model_gone"  # gone, paused, retired, or not open to this account
    PRIVATE_ADDRESS = "private_address"  # an output that is not in the public internet
    WRONG_ADDRESS = "wrong_address"  # a redirect or a web page where the API should be
    UNREADABLE_ANSWER = "unreadable_answer"  # no JSON, or not what the format says
    OTHER_PREDICTION = "other_prediction"  # an answer to a poll that is about another prediction


class ProviderError(SoraPipelineError):
    """Base of all errors a provider raises.

    Args:
        kind: What happened.
        message: The provider's own words, or a sentence of ours; never holds the key.
        http_status: The HTTP status of the answer, where there was one.
    """

    def __init__(self, kind: ErrorKind, message: str, *, http_status: int | None = None) -> None:
        super().__init__(message, str(kind))
        self.kind = kind
        self.http_status = http_status


class TransientError(ProviderError):
    """Raised where the request was certainly not accepted and may be sent again.

    Args:
        kind: What happened.
        message: The provider's words.
        retry_after_s: Seconds the provider asked us to wait, where it did.
        http_status: The HTTP status of the answer, where there was one.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(kind, message, http_status=http_status)
        self.retry_after_s = retry_after_s


class AmbiguousSubmitError(ProviderError):
    """Raised by a submit whose answer was lost after the request was sent: it may have been billed."""


class RejectedError(ProviderError):
    """Raised where sending the same request again can never succeed."""


class GenerationFailedError(ProviderError):
    """An accepted job ended without a video; held by ``Prediction.error``.

    Args:
        kind: What happened.
        message: The provider's words.
        retryable: Whether another attempt is bought by itself: only for a cause that is known to pass.
        http_status: The HTTP status of the answer, where there was one.
    """

    def __init__(
        self, kind: ErrorKind, message: str, *, retryable: bool, http_status: int | None = None
    ) -> None:
        super().__init__(kind, message, http_status=http_status)
        self.retryable = retryable


class ModelGoneError(ProviderError):
    """Raised where every further submit for this model would fail alike: gone, retired, paused, not open to this account."""


class BlockedError(ProviderError):
    """Raised where every further submit to this account would fail alike: 401, 403 about key or balance, no API there."""
