"""What the pipeline needs of a provider: submit, poll, open an output. docs/providers.md says how to write one."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from sora_pipeline.clip import Size
from sora_pipeline.provider.errors import ErrorKind, GenerationFailedError

if TYPE_CHECKING:
    import httpx


class PredictionState(StrEnum):
    """Where a prediction stands, whatever word the wire format has for it."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ImageTransport(StrEnum):
    """How a first frame travels: what ``SORA_IMAGE_TRANSPORT`` says."""

    AUTO = "auto"  # what the provider is known to take
    URL = "url"
    DATA_URI = "data-uri"
    MULTIPART = "multipart"


@dataclass(frozen=True, slots=True)
class InputImage:
    """The first frame as it is sent.

    Attributes:
        content: The fitted image's bytes.
        media_type: For example ``image/png``.
        url: Public URL of the same picture, where the manifest gave one and it needed no fitting.
    """

    content: bytes
    media_type: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class SubmitRequest:
    """One clip as every wire format can send it."""

    prompt: str
    model: str
    duration: int  # seconds
    size: Size
    image: InputImage | None = None
    parameters: Mapping[str, Any] = field(
        default_factory=dict
    )  # further ones, as the catalogue has them for the model


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the request, and will bill it."""

    prediction_id: str
    poll_url: str | None  # absolute, on the provider's own origin; None where the answer named none there
    provider_status: str  # the provider's own word
    model_returned: str | None
    warning: str | None = None  # a sentence about something odd, for the log


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a poll found.

    ``SUCCEEDED`` without ``output_urls`` happens (the v3 page's own sample shows it): the URL may come a moment later, or
    never. Who polls grants it a few more polls and then treats it as ``ErrorKind.NO_OUTPUT``; it was rendered and is billed.
    """

    prediction_id: str
    state: PredictionState
    provider_status: str
    output_urls: tuple[str, ...] = ()
    error: GenerationFailedError | None = None  # set exactly where state is FAILED
    model_returned: str | None = None
    expires_at: datetime | None = None  # of the output, UTC
    warning: str | None = None  # a sentence about something odd, for the log


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """Whether the provider accepts the key."""

    accepted: bool | None  # None: it could not be found out
    message: str
    kind: ErrorKind | None = None  # what is wrong, also where the key is good: no balance


class Provider(Protocol):
    """One wire format at one base URL with one key. Use as an async context manager.

    ``submit`` sends the request at most once and decides nothing: retry rules live with the caller.
    """

    name: str
    base_url: str

    async def submit(self, request: SubmitRequest) -> Accepted:
        """Send one request.

        Raises:
            TransientError: certainly not accepted.
            AmbiguousSubmitError: perhaps accepted and billed: whatever proves no refusal.
            RejectedError: never acceptable.
            ModelGoneError: nothing of this model is accepted at the moment.
            BlockedError: nothing is accepted at the moment.
        """
        ...

    async def poll(self, prediction_id: str, poll_url: str | None) -> Prediction:
        """Ask how a prediction stands.

        A ``poll_url`` on another origin than the base URL's is not requested; a warning says so once for each origin.

        Raises:
            TransientError: no usable answer this time; says nothing about the prediction. ``EXPIRED`` (HTTP 404) means
                that the provider does not know the prediction: believe it only after several in a row. ``OTHER_PREDICTION``
                means that the answer was about another one.
            BlockedError: the key is no longer accepted.
        """
        ...

    def open_output(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> "AbstractAsyncContextManager[httpx.Response]":
        """Stream an output URL, without the key, except where the format's outputs are calls of the API itself.

        Follows up to five redirects. The answer's status is the caller's to judge: it may be 403, 404 or 410.

        Raises:
            RejectedError: ``PRIVATE_ADDRESS``, it leads to an address that is not public.
            TransientError: no answer, too many redirects, or the connection was lost while the body was read.
        """
        ...

    async def check_key(self) -> KeyCheck:
        """Ask whether the key is good, with a request that costs nothing. Raises no ``ProviderError``."""
        ...

    async def model_exists(self, model: str) -> bool | None:
        """Ask whether submits for a model would be taken; None where the API does not say. Raises no ``ProviderError``."""
        ...

    async def __aenter__(self) -> "Provider": ...

    async def __aexit__(self, *exc: object) -> None: ...
