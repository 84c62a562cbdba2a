"""GPTProto's native v3 format, the one the sandbox speaks, too.

Submit: ``POST /api/v3/{vendor}/{model}/{image-to-video|text-to-video}`` (docs.gptproto.com, "gptproto-format").
Result: ``GET /api/v3/predictions/{id}/result``, or ``data.urls.get`` of the answer.
"""

from typing import Any
from urllib.parse import quote

from sora_pipeline.provider.images import image_file, image_reference
from sora_pipeline.provider.protocol import ImageTransport, SubmitRequest
from sora_pipeline.provider.wire import Outgoing, WireFormat, form_fields


class GptProto(WireFormat):
    """The v3 predictions format."""

    usual_submit_path = "/api/v3/{vendor}/{model}/{scene}"
    key_path = "/api/v3/user/me"

    def outgoing(self, request: SubmitRequest) -> Outgoing:
        """JSON; a form only where multipart is asked for, which the page's "file" type suggests and no sample shows."""
        path = self.submit_path(request)
        size = f"{request.size.width}{self._config.size_separator}{request.size.height}"
        own = {"prompt": request.prompt, "duration": request.duration, "size": size}
        body: dict[str, Any] = {**request.parameters, **own}
        if request.image is None:
            return Outgoing(path, json=body)
        if self._config.image_transport is ImageTransport.MULTIPART:
            form = form_fields(body)
            return Outgoing(path, fields=form, files={"image": image_file(request.image)})
        body["image"] = image_reference(request.image, self._config.image_transport)
        return Outgoing(path, json=body)

    def poll_path(self, prediction_id: str) -> str:
        """The result route."""
        return f"/api/v3/predictions/{prediction_id}/result"

    def model_path(self, model: str) -> str:
        """Where the vendor's command line looks models up."""
        return cli_model_path(self.slug(model))


def cli_model_path(slug: str) -> str:
    """The vendor's route for one model."""
    vendor, _, name = slug.partition("/")
    return f"/v1/cli/models/{quote(vendor, safe='')}/{quote(name, safe='')}"
