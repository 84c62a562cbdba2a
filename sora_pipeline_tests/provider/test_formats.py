"""Each wire format against the documented samples, over real HTTP."""

import base64
import re
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any

import pytest
from pydantic import ValidationError

from sora_pipeline.clip import Size
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.factory import make_provider
from sora_pipeline.provider.images import ImageTransport
from sora_pipeline.provider.protocol import (
    Accepted,
    InputImage,
    Prediction,
    PredictionState,
    Provider,
    SubmitRequest,
)
from sora_pipeline_tests.provider.raw_server import RawServer, Received, answer

pytestmark = pytest.mark.anyio

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


SUBMITTED = {
    "data": {
        "id": "abc",
        "model": "sora-2-pro",
        "outputs": [],
        "urls": {"get": "https://gptproto.com/api/v3/predictions/abc/result"},
        "hasNsfwContents": [],
        "status": "created",
        "createdAt": "2026-06-16 08:23:58",
        "executionTime": 0,
        "timings": {"inference": 0},
    },
    "message": "success",
    "code": 200,
}


def result(**fields: Any) -> dict[str, Any]:
    """The documented v3 result, which says completed with empty outputs."""
    data = {
        "id": "abc", "model": "model_name", "outputs": [], "urls": {"get": "..."}, "status": "completed", "error": None,
        "executionTime": 0, "timings": {"inference": 0}, "has_nsfw_contents": [], "created_at": "2026-01-01 00:00:00",
    }  # fmt: skip
    return {"data": data | fields, "message": "success", "code": 200}


# --- native v3 ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gptproto", "sandbox"])
async def test_v3_text_submit(name: str) -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        accepted = await submit(server, asking(), name)
    (request,) = server.received
    assert request.path == "/api/v3/openai/sora-2-pro/text-to-video"
    assert request.json == {"prompt": "a cat", "duration": 8, "size": "1280x720"}
    assert accepted == Accepted(
        "abc", "https://gptproto.com/api/v3/predictions/abc/result", "created", "sora-2-pro"
    )


@pytest.mark.parametrize(
    ("image", "transport", "sent"),
    [
        (PUBLIC, "auto", PUBLIC.url),
        (LOCAL, "auto", DATA_URI),
        (PUBLIC, "url", PUBLIC.url),
        (PUBLIC, "data-uri", DATA_URI),
    ],
)
async def test_v3_image_submit(image: InputImage, transport: str, sent: str) -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        await submit(server, asking(image), image_transport=ImageTransport(transport))
    (request,) = server.received
    assert request.path == "/api/v3/openai/sora-2-pro/image-to-video"
    assert request.json["image"] == sent


async def test_v3_multipart_submit() -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        await submit(server, asking(PUBLIC, "eine Katze äöü"), image_transport=ImageTransport.MULTIPART)
    assert form(server.received[0]) == {
        "prompt": (None, None, "eine Katze äöü".encode()),
        "duration": (None, None, b"8"),
        "size": (None, None, b"1280x720"),
        "image": ("image.png", "image/png", PIXELS),
    }


async def test_url_transport_without_a_url_sends_nothing() -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        with pytest.raises(RejectedError, match="no public URL"):
            await submit(server, asking(LOCAL), image_transport=ImageTransport.URL)
    assert server.received == []


async def test_prompt_that_no_json_can_hold_is_rejected_before_sending() -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        with pytest.raises(RejectedError):
            await submit(server, asking(prompt="half a smile \ud83d"))
    assert server.received == []


async def test_path_and_separator_are_settings() -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        await submit(
            server, asking(), submit_path="/x/{vendor}/{model}-pro/{scene}", vendor="o/i", size_separator="*"
        )
    assert server.received[0].path == "/x/o%2Fi/sora-2-pro-pro/text-to-video"
    assert server.received[0].json["size"] == "1280*720"


@pytest.mark.parametrize(
    ("status", "body", "error", "kind"),
    [
        (400, {"error": {"message": "guidelines", "type": "503"}}, RejectedError, ErrorKind.CONTENT_POLICY),
        (
            403,
            {"error": {"message": "Insufficient balance", "type": "403"}},
            BlockedError,
            ErrorKind.NO_BALANCE,
        ),
        (504, {}, AmbiguousSubmitError, ErrorKind.AMBIGUOUS_SUBMIT),
        (200, {"data": {"status": "created"}}, AmbiguousSubmitError, ErrorKind.AMBIGUOUS_SUBMIT),
        (
            200,
            {"id": "req", "code": 400, "message": "unknown video model"},
            BlockedError,
            ErrorKind.MODEL_GONE,
        ),
    ],
)
async def test_v3_refusals(status: int, body: Any, error: type[Exception], kind: ErrorKind) -> None:
    async with RawServer([answer(status, body)]) as server:
        with pytest.raises(error) as caught:
            await submit(server, asking())
    assert caught.value.kind is kind  # type: ignore[attr-defined]
    assert len(server.received) == 1


async def test_rate_limit_says_how_long() -> None:
    async with RawServer([answer(429, {}, headers={"Retry-After": "17"})]) as server:
        with pytest.raises(TransientError) as caught:
            await submit(server, asking())
    assert caught.value.retry_after_s == 17


async def test_accepted_with_odd_code_but_id_and_status_is_kept() -> None:
    """It has an id and a status: it was taken, and giving it up would lose a paid clip."""
    body = {"code": 5004, "data": {"id": "abc", "status": "processing"}}
    async with RawServer([answer(200, body)]) as server:
        assert (await submit(server, asking())).prediction_id == "abc"


async def test_poll_uses_the_providers_url_on_its_own_origin() -> None:
    async with (
        RawServer([answer(200, result(outputs=[CLIP]))]) as server,
        provider_at(server.url) as provider,
    ):
        prediction = await provider.poll("abc", f"{server.url}/elsewhere/abc")
    assert server.received[0].path == "/elsewhere/abc"
    assert server.received[0].headers["authorization"] == f"Bearer {KEY}"
    assert (prediction.state, prediction.output_urls) == (PredictionState.SUCCEEDED, (CLIP,))
    assert prediction.warning is None
    assert prediction.model_returned == "model_name"


async def test_poll_url_on_a_foreign_origin_is_never_requested() -> None:
    async with (
        RawServer([answer(200, result())]) as foreign,
        RawServer([answer(200, result(status="processing"))]) as server,
        provider_at(server.url) as provider,
    ):
        prediction = await provider.poll("abc", f"{foreign.url}/api/v3/predictions/abc/result")
    assert foreign.received == []
    assert server.received[0].path == "/api/v3/predictions/abc/result"
    assert prediction.warning is not None
    assert "foreign origin" in prediction.warning


async def test_built_poll_url_encodes_the_id() -> None:
    _, server = await poll(result(), prediction_id="sora-2:task/../x?y")
    assert server.received[0].path == "/api/v3/predictions/sora-2%3Atask%2F..%2Fx%3Fy/result"


async def test_completed_without_outputs_is_a_success_that_names_none() -> None:
    prediction, _ = await poll(result())
    assert (prediction.state, prediction.output_urls) == (PredictionState.SUCCEEDED, ())


async def test_unknown_status_runs_on_with_a_warning() -> None:
    prediction, _ = await poll(result(status="upscaling"))
    assert prediction.state is PredictionState.RUNNING
    assert prediction.warning == "unknown status 'upscaling' counts as running"


async def test_outputs_of_a_running_prediction_are_not_taken() -> None:
    prediction, _ = await poll(result(status="processing", outputs=[CLIP]))
    assert (prediction.state, prediction.output_urls) == (PredictionState.RUNNING, ())


async def test_late_content_policy_is_a_failure_of_the_clip() -> None:
    body = {"error": {"message": "Input may not meet the guidelines", "type": "503"}}
    prediction, _ = await poll(body, status=400)
    assert prediction.state is PredictionState.FAILED
    assert prediction.error is not None
    assert (prediction.error.kind, prediction.error.retryable) == (ErrorKind.CONTENT_POLICY, False)


@pytest.mark.parametrize("body", [{}, {"code": 500, "message": "x"}, {"status": 3}, "text", None, [1]])
async def test_poll_that_describes_nothing_is_transient(body: Any) -> None:
    with pytest.raises(TransientError):
        await poll(body)


async def test_completed_in_an_envelope_that_says_error_is_no_success() -> None:
    with pytest.raises(TransientError):
        await poll(result(outputs=[CLIP]) | {"code": 500})


async def test_right_prediction_is_picked_from_a_list() -> None:
    both = [{"id": "other", "status": "failed"}, {"id": "abc", "status": "completed", "outputs": [CLIP]}]
    prediction, _ = await poll({"data": both, "code": 200})
    assert (prediction.output_urls, prediction.warning) == ((CLIP,), None)


async def test_answer_about_another_prediction_is_said() -> None:
    prediction, _ = await poll(result(id="other", status="processing"))
    assert prediction.warning is not None
    assert "'other'" in prediction.warning


# --- unified -----------------------------------------------------------------------------------------------------------


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


# --- OpenAI videos -----------------------------------------------------------------------------------------------------

VIDEO = {
    "id": "video_1", "object": "video", "status": "completed", "model": "sora-2", "progress": 100, "seconds": "4",
    "size": "720x1280", "created_at": "1766556441", "completed_at": "1766556506", "expires_at": "1766560106",
}  # fmt: skip


async def test_openai_submit_with_a_file() -> None:
    async with RawServer([answer(200, VIDEO | {"status": "queued"})]) as server:
        accepted = await submit(server, asking(LOCAL), "openai-videos")
    assert server.received[0].path == "/v1/videos"
    assert form(server.received[0]) == {
        "model": (None, None, b"sora-2-pro"),
        "prompt": (None, None, b"a cat"),
        "seconds": (None, None, b"8"),
        "size": (None, None, b"1280x720"),
        "input_reference": ("image.png", "image/png", PIXELS),
    }
    assert accepted == Accepted("video_1", None, "queued", "sora-2")


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


# --- configuration -----------------------------------------------------------------------------------------------------


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
        ({"name": "runway"}, "is not one of sandbox, gptproto"),
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
        ({"name": "gptproto-unified", "image_transport": ImageTransport.MULTIPART}, "takes JSON only"),
    ],
)
def test_bad_settings_are_told_without_the_key(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ProviderConfig(**({"name": "gptproto", "api_key": KEY} | settings))
    assert words in str(caught.value)
    assert KEY not in str(caught.value)
