"""GPTProto's unified format: any model as a ``vendor/model`` slug.

Source: ``docs/API.md`` and ``openapi/openapi.yaml`` of github.com/gptproto-ai/gptproto-sdk (2026-08-20). A submit is accepted with
HTTP 202 and a relative ``polling_url``; outputs come as ``unsigned_urls``, errors as a plain string.
"""

from typing import Any

from sora_pipeline.provider.images import image_reference
from sora_pipeline.provider.protocol import SubmitRequest
from sora_pipeline.provider.wire import Outgoing, WireFormat

SUBMIT_PATH = "/api/v3/videos"


class GptProtoUnified(WireFormat):
    """The unified videos format. JSON only."""

    def outgoing(self, request: SubmitRequest) -> Outgoing:
        """JSON; the image is the first of ``frame_images``."""
        slug = request.model if "/" in request.model else f"{self._config.vendor}/{request.model}"
        body: dict[str, Any] = {
            "model": slug,
            "prompt": request.prompt,
            "duration": request.duration,
            # This format's schema takes no other separator than "x".
            "size": str(request.size),
        }
        if request.image is not None:
            url = image_reference(request.image, self._config.image_transport)
            frame = {"type": "image_url", "image_url": {"url": url}, "frame_type": "first_frame"}
            body["frame_images"] = [frame]
        return Outgoing(self.submit_path(request, SUBMIT_PATH), json=body)

    def poll_path(self, prediction_id: str) -> str:
        """The SDK's choice for videos; answers name ``/api/v3/tasks/result/{id}``, which is taken where it came."""
        return f"/api/v3/videos/{prediction_id}"
