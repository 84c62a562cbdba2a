"""The OpenAI Videos API, as OpenAI had it until 2026-09-24 and as GPTProto and others still offer it.

Source: OpenAI's ``openapi.yaml`` (``/v1/videos``) and GPTProto's "official-format" pages. The one GPTProto route that is documented
to take a local file.
"""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

from sora_pipeline.provider.images import ImageTransport, image_file, image_reference
from sora_pipeline.provider.protocol import Prediction, PredictionState, SubmitRequest
from sora_pipeline.provider.wire import Outgoing, WireFormat

SUBMIT_PATH = "/v1/videos"
_AS_FORM = (ImageTransport.AUTO, ImageTransport.MULTIPART)


class OpenAIVideos(WireFormat):
    """The ``/v1/videos`` format."""

    def outgoing(self, request: SubmitRequest) -> Outgoing:
        """A multipart form, which every host of this format documents; JSON where a URL or data URI is asked for."""
        path = self.submit_path(request, SUBMIT_PATH)
        body: dict[str, Any] = {
            "model": request.model,
            "prompt": request.prompt,
            # A string here, where all other formats have an integer named duration.
            "seconds": str(request.duration),
            "size": str(request.size),
        }
        transport = self._config.image_transport
        if transport in _AS_FORM:
            files = {"input_reference": image_file(request.image)} if request.image else None
            return Outgoing(path, fields=body, files=files)
        if request.image is not None:
            body["input_reference"] = {"image_url": image_reference(request.image, transport)}
        return Outgoing(path, json=body)

    def poll_path(self, prediction_id: str) -> str:
        """The video object."""
        return f"{SUBMIT_PATH}/{prediction_id}"

    def understood(self, prediction: Prediction) -> Prediction:
        """A completed video object of OpenAI's names no URL: the content is at a route of its own, behind the key.

        GPTProto adds ``soraVideoUrl``, which is taken where it came.
        """
        if prediction.state is not PredictionState.SUCCEEDED or prediction.output_urls:
            return prediction
        content = f"{self.base_url}{SUBMIT_PATH}/{quote(prediction.prediction_id, safe='')}/content"
        return replace(prediction, output_urls=(content,))
