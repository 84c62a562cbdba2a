"""GPTProto's native format against the documented samples, over real HTTP."""

from typing import Any

import pytest

from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    ModelGoneError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.images import ImageTransport
from sora_pipeline.provider.protocol import (
    InputImage,
    PredictionState,
)
from sora_pipeline_tests.provider.asking import (
    CLIP,
    DATA_URI,
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


@pytest.mark.parametrize("name", ["gptproto", "sandbox"])
async def test_v3_text_submit(name: str) -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        accepted = await submit(server, asking(), name)
    (request,) = server.received
    assert request.path == "/api/v3/openai/sora-2-pro/text-to-video"
    assert request.json == {"prompt": "a cat", "duration": 8, "size": "1280x720"}
    assert (accepted.prediction_id, accepted.provider_status) == ("abc", "created")
    assert accepted.model_returned == "sora-2-pro"


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
            ModelGoneError,
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


async def test_poll_url_on_a_foreign_origin_is_said_once_and_never_handed_on() -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server, provider_at(server.url) as provider:
        first, second = [await provider.submit(asking()) for _ in range(2)]
    assert first.poll_url is second.poll_url is None
    assert first.warning is not None
    assert "https://gptproto.com:443" in first.warning
    assert second.warning is None


async def test_poll_url_on_the_own_origin_is_handed_on() -> None:
    async with RawServer([answer(200, {})]) as server, provider_at(server.url) as provider:
        url = f"{server.url}/api/v3/predictions/abc/result"
        server.behaviours = [answer(200, {"data": SUBMITTED["data"] | {"urls": {"get": url}}})]
        accepted = await provider.submit(asking())
    assert (accepted.poll_url, accepted.warning) == (url, None)


async def test_other_model_than_asked_for_is_said() -> None:
    body = {"data": SUBMITTED["data"] | {"urls": {}, "model": "seedance-2"}}
    async with RawServer([answer(200, body)]) as server:
        accepted = await submit(server, asking())
    assert accepted.model_returned == "seedance-2"
    assert accepted.warning == "the provider's answer names the model 'seedance-2', not 'sora-2-pro'"


async def test_vendor_of_the_path_is_the_catalogues() -> None:
    async with RawServer([answer(200, SUBMITTED)]) as server:
        await submit(server, asking(model="wan-2.6"))
        await submit(server, asking(model="nobody-knows"))
    assert [request.path for request in server.received] == [
        "/api/v3/alibaba/wan-2.6/text-to-video",
        "/api/v3/openai/nobody-knows/text-to-video",
    ]


async def test_poll_url_on_a_foreign_origin_is_never_requested() -> None:
    async with (
        RawServer([answer(200, result())]) as foreign,
        RawServer([answer(200, result(status="processing"))]) as server,
        provider_at(server.url) as provider,
    ):
        prediction = await provider.poll("abc", f"{foreign.url}/api/v3/predictions/abc/result")
        again = await provider.poll("abc", f"{foreign.url}/api/v3/predictions/abc/result")
    assert foreign.received == []
    assert again.warning is None
    assert server.received[0].path == "/api/v3/predictions/abc/result"
    assert prediction.warning is not None
    assert "foreign origin" in prediction.warning


async def test_built_poll_url_encodes_the_id() -> None:
    _, server = await poll(result(id="sora-2:task/../x?y"), prediction_id="sora-2:task/../x?y")
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


@pytest.mark.parametrize("status", ["processing", "completed", "failed"])
async def test_answer_about_another_prediction_is_never_taken(status: str) -> None:
    with pytest.raises(TransientError, match="about the prediction 'other', not about 'abc'") as caught:
        await poll(result(id="other", status=status))
    assert caught.value.kind is ErrorKind.OTHER_PREDICTION
