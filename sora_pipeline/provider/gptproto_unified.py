"""GPTProto's unified format: any model as a ``vendor/model`` slug.

Source: ``docs/API.md`` and ``openapi/openapi.yaml`` of github.com/gptproto-ai/gptproto-sdk (2026-08-20). A submit is accepted with
HTTP 202 and a relative ``polling_url``; outputs come as ``unsigned_urls``, errors as a plain string.
"""

import math
from typing import Any

from sora_pipeline.provider.catalogue import FrameField
from sora_pipeline.provider.gptproto import cli_model_path
from sora_pipeline.provider.images import image_reference
from sora_pipeline.provider.protocol import SubmitRequest
from sora_pipeline.provider.wire import Outgoing, WireFormat


class GptProtoUnified(WireFormat):
    """The unified videos format. JSON only."""

    usual_submit_path = "/api/v3/videos"
    key_path = "/api/v3/user/me"

    def outgoing(self, request: SubmitRequest) -> Outgoing:
        """JSON; the image is the first of ``frame_images``."""
        body: dict[str, Any] = {
            **request.parameters,
            "model": self.slug(request.model),
            "prompt": request.prompt,
            "duration": request.duration,
            **self._frame(request),
        }
        if request.image is not None:
            url = image_reference(request.image, self._config.image_transport)
            frame = {"type": "image_url", "image_url": {"url": url}, "frame_type": "first_frame"}
            body["frame_images"] = [frame]
        return Outgoing(self.submit_path(request), json=body)

    def _frame(self, request: SubmitRequest) -> dict[str, str]:
        """The frame size in the fields that the model reads: those it does not are ignored without a word."""
        known = self._catalogue.find(request.model)
        if known is None or known.frame is FrameField.SIZE:
            return {"size": str(request.size)}  # this format's schema takes no other separator than "x"
        width, height = request.size.width, request.size.height
        divisor = math.gcd(width, height)
        return {
            "resolution": f"{min(width, height)}p",
            "aspect_ratio": f"{width // divisor}:{height // divisor}",
        }

    def poll_path(self, prediction_id: str) -> str:
        """The SDK's choice for videos; answers name ``/api/v3/tasks/result/{id}``, which is taken where it came."""
        return f"{self.collection_path}/{prediction_id}"

    def model_path(self, model: str) -> str:
        """Where the vendor's command line looks models up."""
        return cli_model_path(self.slug(model))
