"""The OpenAI Videos format against the documented samples, over real HTTP."""

import re
from datetime import UTC, datetime

import pytest

from sora_pipeline.provider.errors import (
    ErrorKind,
)
from sora_pipeline.provider.images import ImageTransport
from sora_pipeline.provider.protocol import (
    Accepted,
)
from sora_pipeline_tests.provider.asking import (
    CLIP,
    KEY,
    LOCAL,
    PIXELS,
    PUBLIC,
    asking,
    form,
    poll,
    provider_at,
    submit,
)
from sora_pipeline_tests.provider.raw_server import RawServer, answer

pytestmark = pytest.mark.anyio

VIDEO = {
    "id": "video_1", "object": "video", "status": "completed", "model": "sora-2", "progress": 100, "seconds": "4",
    "size": "720x1280", "created_at": "1766556441", "completed_at": "1766556506", "expires_at": "1766560106",
}  # fmt: skip


async def test_openai_submit_with_a_file() -> None:
    async with RawServer([answer(200, VIDEO | {"status": "queued", "model": "sora-2-pro"})]) as server:
        accepted = await submit(server, asking(LOCAL), "openai-videos")
    assert server.received[0].path == "/v1/videos"
    assert form(server.received[0]) == {
        "model": (None, None, b"sora-2-pro"),
        "prompt": (None, None, b"a cat"),
        "seconds": (None, None, b"8"),
        "size": (None, None, b"1280x720"),
        "input_reference": ("image.png", "image/png", PIXELS),
    }
    assert accepted == Accepted("video_1", None, "queued", "sora-2-pro")


async def test_openai_text_submit_is_a_form_too() -> None:
    async with RawServer([answer(200, VIDEO)]) as server:
        await submit(server, asking(), "openai-videos")
    assert re.match("multipart/form-data; boundary=", server.received[0].headers["content-type"])
    assert set(form(server.received[0])) == {"model", "prompt", "seconds", "size"}


async def test_openai_submit_with_a_url_is_json() -> None:
    async with RawServer([answer(200, VIDEO)]) as server:
        await submit(server, asking(PUBLIC), "openai-videos", image_transport=ImageTransport.URL)
    assert server.received[0].json == {
        "model": "sora-2-pro",
        "prompt": "a cat",
        "seconds": "8",
        "size": "1280x720",
        "input_reference": {"image_url": PUBLIC.url},
    }


async def test_openai_prefers_the_url_that_gptproto_adds() -> None:
    prediction, server = await poll(VIDEO | {"soraVideoUrl": CLIP}, "openai-videos", "video_1")
    assert server.received[0].path == "/v1/videos/video_1"
    assert prediction.output_urls == (CLIP,)
    assert prediction.expires_at == datetime(2025, 12, 24, 7, 8, 26, tzinfo=UTC)


async def test_openai_content_route_is_the_output_and_gets_the_key() -> None:
    async with (
        RawServer([answer(200, VIDEO), answer(200, b"mp4")]) as server,
        provider_at(server.url, "openai-videos") as provider,
    ):
        prediction = await provider.poll("video_1", None)
        assert prediction.output_urls == (f"{server.url}/v1/videos/video_1/content",)
        async with provider.open_output(prediction.output_urls[0]) as response:
            assert await response.aread() == b"mp4"
    assert server.received[1].headers["authorization"] == f"Bearer {KEY}"


async def test_openai_job_failure() -> None:
    body = VIDEO | {"status": "failed", "error": {"code": "moderation_blocked", "message": "Blocked"}}
    prediction, _ = await poll(body, "openai-videos", "video_1")
    assert prediction.error is not None
    assert (prediction.error.kind, prediction.output_urls) == (ErrorKind.CONTENT_POLICY, ())


@pytest.mark.parametrize(("path", "base"), [(None, "/v1"), ("/openai/v1/videos", "")])
async def test_openai_base_url_may_end_as_openais_clients_want_it_and_the_collection_may_move(
    path: str | None, base: str
) -> None:
    collection = path or "/v1/videos"
    async with (
        RawServer([answer(200, VIDEO)]) as server,
        provider_at(server.url + base, "openai-videos", submit_path=path) as provider,
    ):
        await provider.submit(asking(model="sora-2"))
        prediction = await provider.poll("video_1", None)
        await provider.check_key()
    assert prediction.output_urls == (f"{server.url}{collection}/video_1/content",)
    paths = [request.path for request in server.received]
    assert paths == [collection, f"{collection}/video_1", f"{collection}?limit=1"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/videos/v/content/../../x",
        "/v1/videos//content",
        "/v1/videos/content",
        "/outputs/content",
        "/v1/videos/v",
    ],
)
async def test_openai_key_goes_to_the_content_route_only(path: str) -> None:
    async with (
        RawServer([answer(200, b"mp4")]) as server,
        provider_at(server.url, "openai-videos") as provider,
    ):
        for url in (f"{server.url}{path}", f"{server.url}/v1/videos/v/content"):
            async with provider.open_output(url) as response:
                await response.aread()
    assert ["authorization" in request.headers for request in server.received] == [False, True]
