"""The OpenAI Videos API, as OpenAI had it until 2026-09-24 and as GPTProto and others still offer it.

Source: OpenAI's ``openapi.yaml`` (``/v1/videos``) and GPTProto's "official-format" pages. The one GPTProto route that is documented
to take a local file.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.images import image_file, image_reference
from sora_pipeline.provider.protocol import ImageTransport, Prediction, PredictionState, SubmitRequest
from sora_pipeline.provider.wire import Outgoing, WireFormat, form_fields

_AS_FORM = (ImageTransport.AUTO, ImageTransport.MULTIPART)


class OpenAIVideos(WireFormat):
    """The ``/v1/videos`` format."""

    usual_submit_path = "/v1/videos"

    def __init__(self, config: ProviderConfig, catalogue: Catalogue) -> None:
        # OpenAI's own clients are given the address with its /v1.
        base_url = config.base_url.removesuffix("/v1")
        super().__init__(config.model_copy(update={"base_url": base_url}), catalogue)

    @property
    def key_path(self) -> str:  # type: ignore[override]
        """The shortest of lists."""
        return f"{self.collection_path}?limit=1"

    def outgoing(self, request: SubmitRequest) -> Outgoing:
        """A multipart form, which every host of this format documents; JSON where a URL or data URI is asked for."""
        path = self.submit_path(request)
        body: dict[str, Any] = {
            **request.parameters,
            "model": request.model,
            "prompt": request.prompt,
            # A string here, where all other formats have an integer named duration.
            "seconds": str(request.duration),
            "size": str(request.size),
        }
        transport = self._config.image_transport
        if transport in _AS_FORM:
            files = {"input_reference": image_file(request.image)} if request.image else None
            return Outgoing(path, fields=form_fields(body), files=files)
        if request.image is not None:
            body["input_reference"] = {"image_url": image_reference(request.image, transport)}
        return Outgoing(path, json=body)

    def poll_path(self, prediction_id: str) -> str:
        """The video object."""
        return f"{self.collection_path}/{prediction_id}"

    def model_path(self, model: str) -> str:
        """OpenAI's route for one model."""
        return f"/v1/models/{quote(model, safe='')}"

    def is_api_call(self, url: str) -> bool:
        """The content route, and no other output."""
        start = f"{self.base_url}{self.collection_path}/"
        inner, slash, last = url.removeprefix(start).partition("/")
        is_content = bool(slash) and last.partition("?")[0] == "content"
        return url.startswith(start) and is_content and inner not in ("", ".", "..")

    def understood(self, prediction: Prediction) -> Prediction:
        """A completed video object of OpenAI's names no URL: the content is at a route of its own, behind the key.

        GPTProto adds ``soraVideoUrl``, which is taken where it came.
        """
        if prediction.state is not PredictionState.SUCCEEDED or prediction.output_urls:
            return prediction
        video = quote(prediction.prediction_id, safe="")
        content = f"{self.base_url}{self.collection_path}/{video}/content"
        return replace(prediction, output_urls=(content,))
