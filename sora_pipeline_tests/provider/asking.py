"""What the tests of all wire formats share: requests, and a provider at the server made of bare sockets."""

import base64
from email import message_from_bytes
from typing import Any

from sora_pipeline.clip import Size
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.protocol import Accepted, InputImage, Prediction, Provider, SubmitRequest
from sora_pipeline.provider.registry import make_provider
from sora_pipeline_tests.provider.raw_server import RawServer, Received, answer

KEY = "sk-secret-0123456789"
PIXELS = b"\x89PNG not really"
LOCAL = InputImage(PIXELS, "image/png")
PUBLIC = InputImage(PIXELS, "image/png", "https://images.example/cat.png")
DATA_URI = f"data:image/png;base64,{base64.b64encode(PIXELS).decode()}"
CLIP = "https://oss.gptproto.com/ai/clip.mp4"


def provider_at(url: str, name: str = "gptproto", **more: Any) -> Provider:
    return make_provider(ProviderConfig(name=name, base_url=url, api_key=KEY, **more))


def asking(
    image: InputImage | None = None, prompt: str = "a cat", model: str = "sora-2-pro"
) -> SubmitRequest:
    return SubmitRequest(prompt, model, 8, Size(1280, 720), image)


async def submit(server: RawServer, request: SubmitRequest, name: str = "gptproto", **more: Any) -> Accepted:
    async with provider_at(server.url, name, **more) as provider:
        return await provider.submit(request)


async def poll(
    body: Any,
    name: str = "gptproto",
    prediction_id: str = "abc",
    poll_url: str | None = None,
    status: int = 200,
) -> tuple[Prediction, RawServer]:
    async with RawServer([answer(status, body)]) as server, provider_at(server.url, name) as provider:
        return await provider.poll(prediction_id, poll_url), server


def form(request: Received) -> dict[str, tuple[str | None, str | None, bytes]]:
    """Fields of a multipart form: file name, media type, content."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    parts: Any = message_from_bytes(head + request.body).get_payload()
    return {
        part.get_param("name", header="Content-Disposition"): (
            part.get_filename(),
            part["Content-Type"],
            part.get_payload(decode=True),
        )
        for part in parts
    }
