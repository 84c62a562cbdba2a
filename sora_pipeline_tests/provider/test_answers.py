import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from sora_pipeline.provider.answers import Answer, read_answer, read_timestamp
from sora_pipeline.provider.errors import BlockedError, ProviderError, TransientError
from sora_pipeline.provider.failures import classify_poll_failure, classify_submit_failure
from sora_pipeline.provider.http import RawAnswer
from sora_pipeline.provider.predictions import read_prediction
from sora_pipeline.provider.protocol import PredictionState
from sora_pipeline.provider.statuses import meaning_of
from sora_pipeline_tests.provider.any_json import ANSWERS, STATUSES

BASE = "https://gptproto.com"
CLIP = "https://oss.gptproto.com/ai/clip.mp4"


def reading(body: Any) -> Answer:
    return read_answer(json.dumps(body).encode())


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"id": "abc"}},
        {"data": [{"id": "abc"}]},
        [{"id": "abc"}],
        {"id": "abc"},
        {"data": None, "id": "abc"},
        {"data": {"id": " abc "}},
        {"data": {"urls": {"get": f"{BASE}/api/v3/predictions/abc/result"}}},
        {"data": {"urls": [{"get": f"{BASE}/api/v3/predictions/abc/result"}]}},
        {"data": {"id": "", "urls": {"get": "/api/v3/predictions/abc/result?x=1"}}},
        {"polling_url": "/api/v3/tasks/result/abc"},
        {"polling_url": "/v1/videos/abc/"},
    ],
)
def test_id_is_found_wherever_it_is(body: Any) -> None:
    assert reading(body).prediction_id == "abc"


def test_ids_of_all_seen_kinds_are_kept_as_they_are() -> None:
    assert reading({"id": "sora-2:task_xxx"}).prediction_id == "sora-2:task_xxx"
    assert reading({"id": 42}).prediction_id == "42"
    assert reading({"polling_url": "/v1/videos/sora-2%3Atask"}).prediction_id == "sora-2:task"


@pytest.mark.parametrize(
    "bad", [None, "", " ", True, 1.5, [], {}, "a\nb", "\ud800", "x" * 513, "..", "a\u0000"]
)
def test_unusable_id_is_none(bad: Any) -> None:
    assert reading({"data": {"id": bad}}).prediction_id is None


def test_envelope_id_is_not_the_jobs() -> None:
    assert reading({"id": "request-1", "data": {"model": "x"}}).prediction_id is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"data": {"urls": {"get": f"{BASE}/p/1"}}}, f"{BASE}/p/1"),
        ({"data": {"urls": [{"get": f"{BASE}/p/1"}]}}, f"{BASE}/p/1"),
        ({"polling_url": "/api/v3/tasks/result/1"}, f"{BASE}/api/v3/tasks/result/1"),
        ({"data": {"urls": {"get": "https://evil.example/1"}}}, "https://evil.example/1"),
        ({"data": {"urls": {"get": "file:///etc/passwd"}}}, None),
        ({"data": {"urls": 3}}, None),
    ],
)
def test_poll_url_is_absolute_or_none(body: Any, expected: str | None) -> None:
    assert reading(body).poll_url(BASE) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"outputs": [CLIP]},
        {"outputs": [{"url": CLIP}]},
        {"outputs": [], "output": CLIP},
        {"output": [CLIP]},
        {"output": {"video_url": CLIP}},
        {"video_url": CLIP},
        {"url": CLIP},
        {"result": CLIP},
        {"result": {"url": CLIP}},
        {"images": [{"url": CLIP}]},
        {"unsigned_urls": [CLIP]},
        {"soraVideoUrl": CLIP},
        {"outputs": [None, 3, "", CLIP]},
    ],
)
def test_output_url_is_found_in_every_documented_place(fields: Any) -> None:
    assert reading({"data": {"status": "completed", **fields}}).output_urls(BASE) == (CLIP,)
    assert reading({"status": "completed", **fields}).output_urls(BASE) == (CLIP,)


@pytest.mark.parametrize(
    "junk", ["file:///etc/passwd", "javascript:alert(1)", "data:video/mp4;base64,AA", "clip.mp4"]
)
def test_what_is_no_web_address_is_no_output(junk: str) -> None:
    assert reading({"outputs": [junk]}).output_urls(BASE) == ()


def test_poll_url_is_never_taken_for_an_output() -> None:
    poll = f"{BASE}/api/v3/predictions/1/result"
    assert reading({"data": {"urls": {"get": poll}, "url": poll}}).output_urls(BASE) == ()


@pytest.mark.parametrize(
    "value",
    [
        1766560106,
        1766560106.0,
        "1766560106",
        "2025-12-24 07:08:26",
        "2025-12-24T07:08:26Z",
        "2025-12-24T08:08:26+01:00",
    ],
)
def test_timestamps_of_all_kinds_are_utc(value: object) -> None:
    assert read_timestamp(value) == datetime(2025, 12, 24, 7, 8, 26, tzinfo=UTC)


@pytest.mark.parametrize("value", [None, True, "", "soon", 1e400, float("nan"), -1e20, "9" * 400, [], {}])
def test_no_timestamp_is_none(value: object) -> None:
    assert read_timestamp(value) is None


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ("created pending queued QUEUED", PredictionState.WAITING),
        ("processing running in_progress In-Progress", PredictionState.RUNNING),
        ("completed succeeded success SUCCEEDED", PredictionState.SUCCEEDED),
        ("failed error cancelled canceled expired no_resource NO_RESOURCE", PredictionState.FAILED),
        ("rendering_pass_2 reticulating", PredictionState.RUNNING),
    ],
)
def test_status_words(words: str, state: PredictionState) -> None:
    assert {meaning_of(word).state for word in words.split()} == {state}


@pytest.mark.parametrize(
    ("body", "message", "codes"),
    [
        ({"error": {"message": "Insufficient balance", "type": "403"}}, "Insufficient balance", ("403",)),
        (
            {"error": {"message": "No", "type": "invalid_request_error", "code": "invalid_api_key"}},
            "No",
            ("invalid_api_key", "invalid_request_error"),
        ),
        (
            {"code": 401, "message": "Token cannot be empty", "type": "error"},
            "Token cannot be empty",
            ("401", "error"),
        ),
        ({"error": {"code": 400, "message": "unknown video model"}}, "unknown video model", ("400",)),
        ({"data": {"error": "boom"}, "message": "success", "code": 200}, "boom", ("200",)),
        ({"data": {"error": {"message": "boom", "code": "x"}}, "code": 200}, "boom", ("x", "200")),
        ({"detail": "not found"}, "not found", ()),
    ],
)
def test_error_shapes(body: Any, message: str, codes: tuple[str, ...]) -> None:
    assert reading(body).error_message == message
    assert reading(body).error_codes == codes


@given(content=ANSWERS, status=STATUSES)
def test_no_bytes_break_the_reader_or_pass_for_success(content: bytes, status: int) -> None:
    error = classify_submit_failure(status, content, secret="sk-1", prompt="p")
    assert isinstance(error, ProviderError)
    assert len(error.message) <= 500
    assert isinstance(classify_poll_failure(status, content), ProviderError)
    answer = read_answer(content)
    answer.poll_url(BASE)
    assert answer.prediction_id is None or answer.prediction_id.encode()
    try:
        prediction = read_prediction(RawAnswer(status, content, None), "p", BASE)
    except (TransientError, BlockedError):
        return
    if prediction.state is PredictionState.SUCCEEDED:
        assert 200 <= status < 300
        assert meaning_of(prediction.provider_status).state is PredictionState.SUCCEEDED
    assert (prediction.error is not None) == (prediction.state is PredictionState.FAILED)
