from collections.abc import AsyncIterator

import pytest

from sora_pipeline.clip import Size
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.protocol import InputImage, Provider, SubmitRequest
from sora_pipeline.provider.registry import make_provider
from sora_pipeline_tests.conftest import Sandbox

FORMATS = ("sandbox", "gptproto-unified", "openai-videos", "openai-videos of GPTProto")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests speak to loopback, whatever the machine's proxies are."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=FORMATS)
def wire(request: pytest.FixtureRequest, sandbox: Sandbox) -> str:
    """Each wire format in turn, as the sandbox speaks it."""
    sandbox.change(render_s=0.1)
    if "GPTProto" in request.param:
        sandbox.change(openai_flavour="gptproto")
    return str(request.param).partition(" ")[0]


@pytest.fixture
async def provider(wire: str, sandbox: Sandbox) -> AsyncIterator[Provider]:
    """The pipeline's own provider at the running sandbox."""
    config = ProviderConfig(name=wire, base_url=sandbox.url, api_key=sandbox.endpoint.api_key)
    async with make_provider(config) as opened:
        yield opened


def asking_for(
    prompt: str = "a fox", image: InputImage | None = None, model: str = "sora-2-pro"
) -> SubmitRequest:
    """Four seconds in the size that all models have."""
    return SubmitRequest(prompt, model, 4, Size(1280, 720), image)
