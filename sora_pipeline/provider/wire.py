"""What all wire formats have in common: send once, read the answer, poll the provider's own address only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote

import httpx

from sora_pipeline.provider.answers import read_answer
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.errors import ProviderError
from sora_pipeline.provider.failures import classify_submit_failure
from sora_pipeline.provider.http import FilePart, Http
from sora_pipeline.provider.model_names import is_other_model
from sora_pipeline.provider.origins import origin, same_origin
from sora_pipeline.provider.predictions import read_prediction
from sora_pipeline.provider.preflight import read_key_check, read_model_check
from sora_pipeline.provider.protocol import Accepted, KeyCheck, Prediction, SubmitRequest
from sora_pipeline.provider.wording import tidy


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A submit as the wire format writes it: JSON, or a form with files."""

    path: str
    json: Mapping[str, Any] | None = None
    fields: Mapping[str, str] | None = None
    files: Mapping[str, FilePart] | None = None


def form_fields(body: Mapping[str, Any]) -> dict[str, str]:
    """A JSON body as the fields of a form, which know no types: truth values as JSON writes them."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in body.items()
    }


class WireFormat(ABC):
    """A provider, but for how one format writes a submit and where it is polled."""

    usual_submit_path: str
    key_path: str
    """Where a GET needs the key, changes nothing and costs nothing."""

    def __init__(self, config: ProviderConfig, catalogue: Catalogue) -> None:
        self.name = config.name
        self.base_url = config.base_url
        self._config = config
        self._catalogue = catalogue
        self._foreign_warned: set[str] = set()
        self._secret = config.api_key.get_secret_value()
        self._http = Http(
            config.base_url,
            self._secret,
            max_connections=config.max_connections,
            timeouts=config.timeouts,
            allow_private_outputs=config.allow_private_outputs,
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

    @abstractmethod
    def model_path(self, model: str) -> str:
        """Where the API tells of one model."""

    def is_api_call(self, url: str) -> bool:
        """Whether an output's URL is a call of the API on the provider's own origin, which needs the key."""
        return False

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
                server_errors_unbilled=self._config.server_errors_unbilled,
            )
        poll_url, warning = self._own_poll_url(answer.poll_url(self.base_url))
        model = tidy(answer.model, secret=self._secret) if answer.model else None
        if is_other_model(request.model, model):
            fallback = f"the provider's answer names the model {model!r}, not {request.model!r}"
            warning = "; ".join(filter(None, (warning, fallback)))
        return Accepted(
            prediction_id=prediction_id,
            poll_url=poll_url,
            provider_status=tidy(answer.status or "", secret=self._secret),
            model_returned=model,
            warning=warning,
        )

    async def poll(self, prediction_id: str, poll_url: str | None) -> Prediction:
        """Ask how a prediction stands; see ``Provider.poll``."""
        own, warning = self._own_poll_url(poll_url)
        url = own or self.base_url + self.poll_path(quote(prediction_id, safe=""))
        raw = await self._http.get(url)
        prediction = self.understood(read_prediction(raw, prediction_id, self.base_url, secret=self._secret))
        if warning is None:
            return prediction
        return replace(prediction, warning="; ".join(filter(None, (warning, prediction.warning))))

    def submit_path(self, request: SubmitRequest) -> str:
        """The format's path, or the configured one, for this request."""
        return (self._config.submit_path or self.usual_submit_path).format(
            vendor=quote(self.vendor(request.model), safe=""),
            model=quote(request.model, safe=""),
            scene="text-to-video" if request.image is None else "image-to-video",
        )

    @property
    def collection_path(self) -> str:
        """Where videos lie in formats that submit to their collection, moved along with the submit path."""
        moved = self._config.submit_path
        return self.usual_submit_path if moved is None or "{" in moved else moved.rstrip("/")

    def vendor(self, model: str) -> str:
        """Whose model it is."""
        known = self._catalogue.find(model)
        return self._config.vendor or (known.vendor if known else "openai")

    def slug(self, model: str) -> str:
        """``vendor/model``."""
        known = self._catalogue.find(model)
        if "/" in model:
            return model
        return known.slug if known and self._config.vendor is None else f"{self.vendor(model)}/{model}"

    def understood(self, prediction: Prediction) -> Prediction:
        """A hook for what a format knows beyond the answer itself."""
        return prediction

    def _own_poll_url(self, poll_url: str | None) -> tuple[str | None, str | None]:
        """A poll URL where it is on the provider's own origin, else a warning, once for each foreign one."""
        if poll_url is None or same_origin(poll_url, self.base_url):
            return poll_url, None
        foreign = origin(poll_url)
        where = f"{foreign[0]}://{foreign[1]}:{foreign[2]}" if foreign else "no usable address"
        if where in self._foreign_warned:
            return None, None
        self._foreign_warned.add(where)
        return None, (
            f"the provider's poll URL is on a foreign origin ({where}), where the key does not go: "
            f"predictions are asked for at {self.base_url} instead"
        )

    def open_output(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[httpx.Response]:
        """Stream an output; see ``Provider.open_output``."""
        return self._http.open_output(url, headers=headers or {}, is_api_call=self.is_api_call)

    async def check_key(self) -> KeyCheck:
        """Ask whether the key is good; see ``Provider.check_key``."""
        try:
            raw = await self._http.get(self.base_url + self.key_path)
        except ProviderError as error:
            return KeyCheck(accepted=None, message=error.message, kind=error.kind)
        return read_key_check(raw, secret=self._secret)

    async def model_exists(self, model: str) -> bool | None:
        """Ask whether a model exists; see ``Provider.model_exists``."""
        try:
            return read_model_check(await self._http.get(self.base_url + self.model_path(model)))
        except ProviderError:
            return None

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._http.__aexit__(*exc)
