"""What all wire formats have in common: send once, read the answer, poll the provider's own address only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote

import httpx

from sora_pipeline.provider.answers import read_answer
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.failures import classify_submit_failure
from sora_pipeline.provider.http import FilePart, Http
from sora_pipeline.provider.origins import origin, same_origin
from sora_pipeline.provider.polling import read_prediction
from sora_pipeline.provider.protocol import Accepted, Prediction, SubmitRequest
from sora_pipeline.provider.wording import tidy


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A submit as the wire format writes it: JSON, or a form with files."""

    path: str
    json: Mapping[str, Any] | None = None
    fields: Mapping[str, str] | None = None
    files: Mapping[str, FilePart] | None = None


class WireFormat(ABC):
    """A provider, but for how one format writes a submit and where it is polled."""

    def __init__(self, config: ProviderConfig) -> None:
        self.name = config.name
        self.base_url = config.base_url
        self._config = config
        self._secret = config.api_key.get_secret_value()
        self._http = Http(
            config.base_url,
            self._secret,
            max_connections=config.max_connections,
            timeouts=config.timeouts,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} at {self.base_url}>"

    @abstractmethod
    def outgoing(self, request: SubmitRequest) -> Outgoing:
        """The submit as this format writes it.

        Raises:
            RejectedError: it cannot be written.
        """

    @abstractmethod
    def poll_path(self, prediction_id: str) -> str:
        """Where a prediction is asked for when the provider named no place; the id comes percent-encoded."""

    async def submit(self, request: SubmitRequest) -> Accepted:
        """Send one request; see ``Provider.submit``."""
        out = self.outgoing(request)
        raw = await self._http.submit(
            self.base_url + out.path, json=out.json, fields=out.fields, files=out.files
        )
        answer = read_answer(raw.content)
        prediction_id = answer.prediction_id
        refused = answer.names_error and answer.status is None
        if not 200 <= raw.status < 300 or prediction_id is None or refused:
            raise classify_submit_failure(
                raw.status,
                raw.content,
                retry_after_s=raw.retry_after_s,
                secret=self._secret,
                prompt=request.prompt,
            )
        return Accepted(
            prediction_id=prediction_id,
            poll_url=answer.poll_url(self.base_url),
            provider_status=tidy(answer.status or "", secret=self._secret),
            model_returned=tidy(answer.model, secret=self._secret) if answer.model else None,
        )

    async def poll(self, prediction_id: str, poll_url: str | None) -> Prediction:
        """Ask how a prediction stands; see ``Provider.poll``."""
        url, warning = self._poll_target(prediction_id, poll_url)
        raw = await self._http.get(url)
        prediction = self.understood(read_prediction(raw, prediction_id, self.base_url, secret=self._secret))
        if warning is None:
            return prediction
        return replace(prediction, warning="; ".join(filter(None, (warning, prediction.warning))))

    def submit_path(self, request: SubmitRequest, usual: str) -> str:
        """The format's path, or the configured one, for this request."""
        return (self._config.submit_path or usual).format(
            vendor=quote(self._config.vendor, safe=""),
            model=quote(request.model, safe=""),
            scene="text-to-video" if request.image is None else "image-to-video",
        )

    def understood(self, prediction: Prediction) -> Prediction:
        """A hook for what a format knows beyond the answer itself."""
        return prediction

    def _poll_target(self, prediction_id: str, poll_url: str | None) -> tuple[str, str | None]:
        """The provider's own poll URL where it is on its own origin, else the one this format builds."""
        if poll_url is not None and same_origin(poll_url, self.base_url):
            return poll_url, None
        built = self.base_url + self.poll_path(quote(prediction_id, safe=""))
        if poll_url is None:
            return built, None
        foreign = origin(poll_url)
        where = f"{foreign[0]}://{foreign[1]}:{foreign[2]}" if foreign else "no usable address"
        return built, f"the provider's poll URL is on a foreign origin ({where}) and was not requested"

    def open_output(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Stream an output; see ``Provider.open_output``."""
        return self._http.open_output(url, headers=headers or {})

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.__aexit__(*exc)
