"""GPTProto's unified format against the documented samples, over real HTTP."""

import pytest

from sora_pipeline.provider.errors import (
    ErrorKind,
)
from sora_pipeline_tests.provider.asking import CLIP, PUBLIC, asking, poll, provider_at, submit
from sora_pipeline_tests.provider.raw_server import RawServer, answer

pytestmark = pytest.mark.anyio


async def test_unified_submit_and_relative_polling_url() -> None:
    accepted_body = {
        "id": "job-1",
        "generation_id": "gen-1",
        "polling_url": "/api/v3/tasks/result/job-1",
        "status": "pending",
    }
    done = {
        "id": "job-1",
        "status": "completed",
        "polling_url": "/api/v3/tasks/result/job-1",
        "native_status": "SUCCEEDED",
        "unsigned_urls": [CLIP],
        "error": "",
    }
    async with (
        RawServer([answer(202, accepted_body), answer(200, done)]) as server,
        provider_at(server.url, "gptproto-unified") as provider,
    ):
        accepted = await provider.submit(asking(PUBLIC))
        assert accepted.poll_url == f"{server.url}/api/v3/tasks/result/job-1"
        prediction = await provider.poll(accepted.prediction_id, accepted.poll_url)
        await provider.poll(accepted.prediction_id, None)
    assert [request.path for request in server.received] == [
        "/api/v3/videos",
        "/api/v3/tasks/result/job-1",
        "/api/v3/videos/job-1",
    ]
    assert server.received[0].json == {
        "model": "openai/sora-2-pro",
        "prompt": "a cat",
        "duration": 8,
        "size": "1280x720",
        "frame_images": [
            {"type": "image_url", "image_url": {"url": PUBLIC.url}, "frame_type": "first_frame"}
        ],
    }
    assert prediction.output_urls == (CLIP,)


async def test_unified_takes_a_slug_as_it_is() -> None:
    async with RawServer([answer(202, {"id": "job-1", "status": "pending"})]) as server:
        await submit(server, asking(model="bytedance/seedance-2"), "gptproto-unified")
    assert server.received[0].json["model"] == "bytedance/seedance-2"


async def test_unified_error_string() -> None:
    prediction, _ = await poll(
        {"id": "abc", "status": "failed", "error": "moderation_blocked"}, "gptproto-unified"
    )
    assert prediction.error is not None
    assert prediction.error.kind is ErrorKind.CONTENT_POLICY


@pytest.mark.parametrize(
    ("model", "slug", "frame"),
    [
        ("sora-2-pro", "openai/sora-2-pro", {"size": "1280x720"}),
        ("wan-2.6", "alibaba/wan-2.6", {"size": "1280x720"}),
        ("viduq3-pro", "vidu/viduq3-pro", {"resolution": "720p", "aspect_ratio": "16:9"}),
        ("vidu/viduq3-pro", "vidu/viduq3-pro", {"resolution": "720p", "aspect_ratio": "16:9"}),
        ("nobody-knows", "openai/nobody-knows", {"size": "1280x720"}),
    ],
)
async def test_unified_slug_and_frame_are_the_models_own(
    model: str, slug: str, frame: dict[str, str]
) -> None:
    async with RawServer([answer(202, {"id": "job-1", "status": "pending"})]) as server:
        await submit(server, asking(model=model), "gptproto-unified")
    sent = server.received[0].json
    assert sent["model"] == slug
    assert {key: sent[key] for key in ("size", "resolution", "aspect_ratio") if key in sent} == frame


@pytest.mark.parametrize(
    ("native", "kind"), [("no_resource", ErrorKind.NO_RESOURCE), ("cancelled", ErrorKind.CANCELLED)]
)
async def test_unified_native_status_says_what_the_status_cannot(native: str, kind: ErrorKind) -> None:
    body = {"id": "abc", "status": "failed", "native_status": native, "error": "sorry"}
    prediction, _ = await poll(body, "gptproto-unified")
    assert prediction.error is not None
    assert prediction.error.kind is kind
