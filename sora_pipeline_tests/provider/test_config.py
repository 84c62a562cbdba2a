"""The settings of a provider."""

from typing import Any

import pytest
from pydantic import ValidationError

from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.images import ImageTransport
from sora_pipeline.provider.registry import make_provider
from sora_pipeline_tests.provider.asking import KEY, asking
from sora_pipeline_tests.provider.raw_server import RawServer, answer
from sora_pipeline_tests.provider.test_gptproto import SUBMITTED

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("key", [KEY, f" {KEY}\n", f"Bearer {KEY}", f"bearer  {KEY} "])
async def test_key_is_sent_bare_after_bearer_and_never_shown(key: str) -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        config = ProviderConfig(name="gptproto", base_url=server.url, api_key=key)
        async with make_provider(config) as provider:
            await provider.submit(asking())
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(config) + str(config) + repr(provider) + repr(vars(provider)["_http"])


async def test_sandbox_needs_no_key() -> None:
    async with (
        RawServer([answer(200, SUBMITTED)]) as server,
        make_provider(ProviderConfig(name="sandbox", base_url=server.url)) as provider,
    ):
        await provider.submit(asking())
    assert "authorization" not in server.received[0].headers


def test_each_format_knows_its_address() -> None:
    for name in ("gptproto", "gptproto-unified", "openai-videos"):
        provider = make_provider(ProviderConfig(name=name, api_key=KEY))
        assert (provider.name, provider.base_url) == (name, "https://gptproto.com")
    assert ProviderConfig(name="gptproto", base_url="http://h:1/x/", api_key=KEY).base_url == "http://h:1/x"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "runway"}, "no provider 'runway' is installed; installed: gptproto, gptproto-unified"),
        ({"name": "gptproto", "api_key": ""}, "needs a key"),
        ({"name": "sandbox"}, "a base URL is needed"),
        ({"base_url": "gptproto.com"}, "is no http"),
        ({"base_url": "ftp://gptproto.com"}, "is no http"),
        ({"base_url": "https://gptproto.com?x=1"}, "is no http"),
        ({"api_key": f"{KEY} {KEY}"}, "white space or characters outside ASCII"),
        ({"api_key": f"{KEY}ä"}, "white space or characters outside ASCII"),
        ({"submit_path": "v3/{model}"}, "must start with '/'"),
        ({"submit_path": "/v3/{prompt}"}, "no other fields"),
        ({"submit_path": "/v3/{"}, "path template"),
        (
            {"name": "gptproto-unified", "image_transport": ImageTransport.MULTIPART},
            "takes no image as multipart; the image transport may be auto, url, data-uri",
        ),
    ],
)
def test_bad_settings_are_told_without_the_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProviderConfig(**({"name": "gptproto", "api_key": KEY} | settings))
    assert words in str(caught.value)
    assert KEY not in str(caught.value)
