"""What the API is sent, and what its answers mean for the money."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self
from urllib.parse import quote

import httpx

from sora_pipeline.provider.config import ProviderConfig
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
from sora_pipeline.provider.http import Http, RawAnswer
from sora_pipeline.provider.images import image_reference
from sora_pipeline.provider.protocol import Accepted, KeyCheck, Prediction, PredictionState, SubmitRequest
from sora_pipeline.provider.wording import tidy

# What the API calls a problem, and whether it is this clip's, a model's or the account's.
REJECTED = {"moderated": ErrorKind.CONTENT_POLICY, "invalid": ErrorKind.INVALID_REQUEST}
BLOCKED = {"key": ErrorKind.BAD_TOKEN, "credit": ErrorKind.NO_BALANCE}
# Only what is known to pass is bought again.
FAILED = {
    "moderated": (ErrorKind.CONTENT_POLICY, False),
    "busy": (ErrorKind.NO_RESOURCE, True),
    "internal": (ErrorKind.PROVIDER_INTERNAL, True),
}
STATES = {
    "queued": PredictionState.WAITING,
    "rendering": PredictionState.RUNNING,
    "ready": PredictionState.SUCCEEDED,
    "failed": PredictionState.FAILED,
}


class ExampleProvider:
    """The API at one address with one key."""

    def __init__(self, config: ProviderConfig) -> None:
        self.name = config.name
        self.base_url = config.base_url
        self._config = config
        self._key = config.api_key.get_secret_value()
        # Sends a submit once, gives the key to this address only, and says of an exception whether anything was sent.
        self._http = Http(
            config.base_url,
            self._key,
            max_connections=config.max_connections,
            timeouts=config.timeouts,
            allow_private_outputs=config.allow_private_outputs,
        )

    async def submit(self, request: SubmitRequest) -> Accepted:
        """Send one clip."""
        body: dict[str, Any] = {
            "prompt": request.prompt,
            "model": request.model,
            "seconds": request.duration,
            "width": request.size.width,
            "height": request.size.height,
        }
        if request.image is not None:
            body["image"] = image_reference(request.image, self._config.image_transport)
        raw = await self._http.submit(f"{self.base_url}/clips", json=body)
        clip = _object(raw, "clip")
        if raw.status == 201 and isinstance(clip.get("id"), str):
            return Accepted(clip["id"], None, str(clip.get("state", "")), request.model)
        raise self._refusal(raw)

    def _refusal(self, raw: RawAnswer) -> ProviderError:
        problem, message = self._words(_object(raw))
        if problem in REJECTED:
            return RejectedError(REJECTED[problem], message, http_status=raw.status)
        if problem == "model":
            return ModelGoneError(ErrorKind.MODEL_GONE, message, http_status=raw.status)
        if problem in BLOCKED:
            return BlockedError(BLOCKED[problem], message, http_status=raw.status)
        if raw.status in (429, 503):
            kind = ErrorKind.RATE_LIMITED if raw.status == 429 else ErrorKind.UNAVAILABLE
            return TransientError(kind, message, retry_after_s=raw.retry_after_s, http_status=raw.status)
        if raw.status in (401, 403):
            return BlockedError(ErrorKind.BAD_TOKEN, message, http_status=raw.status)
        # No proof that it was refused: it may have been taken and billed.
        return AmbiguousSubmitError(ErrorKind.AMBIGUOUS_SUBMIT, message, http_status=raw.status)

    async def poll(self, prediction_id: str, poll_url: str | None) -> Prediction:
        """Ask for one clip; what is no answer about it says nothing about it."""
        raw = await self._http.get(f"{self.base_url}/clips/{quote(prediction_id, safe='')}")
        clip = _object(raw, "clip")
        word = str(clip.get("state", ""))
        if raw.status in (401, 403):
            raise BlockedError(ErrorKind.BAD_TOKEN, self._words(_object(raw))[1], http_status=raw.status)
        if raw.status != 200 or not word:
            kind = ErrorKind.EXPIRED if raw.status == 404 else ErrorKind.UNREADABLE_ANSWER
            raise TransientError(
                kind, f"no answer about the clip (HTTP {raw.status})", http_status=raw.status
            )
        # A word that nobody has seen yet is no reason to give up what is paid for.
        state = STATES.get(word, PredictionState.RUNNING)
        if state is PredictionState.FAILED:
            problem, message = self._words(clip)
            kind, retryable = FAILED.get(problem, (ErrorKind.PROVIDER_INTERNAL, False))
            error = GenerationFailedError(kind, message, retryable=retryable)
            return Prediction(prediction_id, state, word, error=error)
        urls = (str(clip["file"]),) if state is PredictionState.SUCCEEDED and clip.get("file") else ()
        return Prediction(prediction_id, state, word, output_urls=urls)

    def open_output(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Stream a file, without the key."""
        return self._http.open_output(url, headers=headers or {})

    async def check_key(self) -> KeyCheck:
        """Ask for the account, which costs nothing."""
        try:
            raw = await self._http.get(f"{self.base_url}/account")
        except ProviderError as error:
            return KeyCheck(None, error.message, error.kind)
        if raw.status == 200 and _object(raw, "account"):
            return KeyCheck(True, "the provider accepts the key")
        refused = raw.status in (401, 403)
        message = self._words(_object(raw))[1]
        return KeyCheck(False if refused else None, message, ErrorKind.BAD_TOKEN if refused else None)

    async def model_exists(self, model: str) -> bool | None:
        """Ask for a model; only the API's own words say that it is gone."""
        try:
            raw = await self._http.get(f"{self.base_url}/models/{quote(model, safe='')}")
        except ProviderError:
            return None
        if raw.status == 200 and _object(raw, "model"):
            return True
        return False if _object(raw).get("problem") == "model" else None

    def _words(self, answer: Mapping[str, Any]) -> tuple[str, str]:
        """What the API says is wrong: its code, and its words without the key."""
        code, detail = (
            str(answer.get("problem", "")),
            str(answer.get("detail") or "the provider gave no reason"),
        )
        return code, tidy(detail, secret=self._key)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.__aexit__(*exc)


def _object(raw: RawAnswer, name: str | None = None) -> Mapping[str, Any]:
    """The answer as a JSON object, or the object of that name in it; empty where there is none."""
    try:
        answer = json.loads(raw.content)
    except ValueError:
        return {}
    found = answer.get(name) if name and isinstance(answer, dict) else answer
    return found if isinstance(found, dict) else {}
