import json
from typing import Any

import pytest

from sora_pipeline.provider.answers import read_answer
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    GenerationFailedError,
    ModelGoneError,
    ProviderError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.failures import (
    classify_job_failure,
    classify_poll_failure,
    classify_submit_failure,
)
from sora_pipeline.provider.statuses import meaning_of

KEY = "sk-secret-0123456789"
K = ErrorKind


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


POLICY = said("Input may not meet the guidelines. Please adjust and try again.", type="503")
MISMATCH = said(
    "Inpaint image must match the requested width and height", type="invalid_request_error", code=None
)
SUBMITS: list[tuple[int, Any, type[ProviderError], ErrorKind]] = [
    (400, POLICY, RejectedError, K.CONTENT_POLICY),
    (400, {"code": 503, "message": "no", "type": "error"}, RejectedError, K.CONTENT_POLICY),
    (400, said("no", code="moderation_blocked"), RejectedError, K.CONTENT_POLICY),
    (403, said("Rejected by our content policy"), RejectedError, K.CONTENT_POLICY),
    (503, POLICY, RejectedError, K.CONTENT_POLICY),
    (503, said("upstream overloaded", type="503"), TransientError, K.UNAVAILABLE),
    (503, b"", TransientError, K.UNAVAILABLE),
    (503, b"<html><a>Community guidelines</a></html>", TransientError, K.UNAVAILABLE),
    (503, b"<html><h1>503</h1>upstream timed out</html>", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, b"no healthy upstream", TransientError, K.UNAVAILABLE),
    (503, b"upstream connect error or disconnect/reset before headers", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, b"oops", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, said("Service temporarily unavailable", type="503"), TransientError, K.UNAVAILABLE),
    (503, said("The model is overloaded. Please try again later."), TransientError, K.UNAVAILABLE),
    (503, said("Down for maintenance"), TransientError, K.UNAVAILABLE),
    (503, said("something went wrong"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, said("", code=503), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, said("connect refused: model sora-2 not found", code="model_not_found"), ModelGoneError, K.MODEL_GONE),
    (503, said("no available channel", code="get_channel_failed"), TransientError, K.UNAVAILABLE),
    (500, said("internal"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, b"", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, b"<html>500</html>", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("server is busy"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("An error occurred while rendering nudity"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("The content policy check passed, then the worker died"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("moderation service is unavailable"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("moderation: connection reset by peer"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("prompt may violate the community guidelines (CM_EXT.POther)"), RejectedError, K.CONTENT_POLICY),
    (500, said("Invalid parameter: duration"), RejectedError, K.INVALID_REQUEST),
    (500, said("account balance is insufficient"), BlockedError, K.NO_BALANCE),
    (500, MISMATCH, RejectedError, K.IMAGE_MISMATCH),
    (400, said("We're under heavy load, please try again later.", code="heavy_load", type="invalid_request_error"), TransientError, K.UNAVAILABLE),
    # A gateway (LiteLLM, Envoy, new-api) whose upstream's answer did not come.
    (500, said("OpenAIException - Server disconnected", code="500"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("do request failed"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("read tcp 10.0.0.1: connection reset by peer"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("Request timed out."), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, said("upstream disconnect/reset before headers"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (500, said("Cannot connect to host api.example:443 ssl:default"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (503, said("connection refused"), TransientError, K.UNAVAILABLE),
    (400, said("The prompt violates Google's Responsible AI practices."), RejectedError, K.CONTENT_POLICY),
    (400, said("No connected db.", type="no_db_connection", code="400"), BlockedError, K.BAD_TOKEN),
    (400, said("/videos: Invalid model name passed in model=veo"), ModelGoneError, K.MODEL_GONE),
    (500, {"code": 500, "msg": "sora-2 is temporarily paused"}, ModelGoneError, K.MODEL_GONE),
    (400, MISMATCH, RejectedError, K.IMAGE_MISMATCH),
    (400, said("image size 100x100 does not match size"), RejectedError, K.IMAGE_MISMATCH),
    (400, said("duration must be 4, 8 or 12"), RejectedError, K.INVALID_REQUEST),
    (400, said("Invalid duration for model sora-2: 20 is not supported"), RejectedError, K.INVALID_REQUEST),
    (404, said("no such route"), RejectedError, K.INVALID_REQUEST),
    (422, {"detail": "size"}, RejectedError, K.INVALID_REQUEST),
    (413, b"", RejectedError, K.INVALID_REQUEST),
    (400, said("unknown video model", code=400), ModelGoneError, K.MODEL_GONE),
    (404, said("The model `sora-2-pro` does not exist", code="model_not_found"), ModelGoneError, K.MODEL_GONE),
    (404, said("model not found"), ModelGoneError, K.MODEL_GONE),
    (400, said("model sora-2-pro has been retired"), ModelGoneError, K.MODEL_GONE),
    (400, said("This model is no longer available"), ModelGoneError, K.MODEL_GONE),
    (404, b"<html>not found</html>", BlockedError, K.WRONG_ADDRESS),
    (405, b"", BlockedError, K.WRONG_ADDRESS),
    (301, b"", BlockedError, K.WRONG_ADDRESS),
    (401, {"code": 401, "message": "Token cannot be empty", "type": "error"}, BlockedError, K.BAD_TOKEN),
    (401, b"", BlockedError, K.BAD_TOKEN),
    (403, said("Invalid Token", type="403"), BlockedError, K.BAD_TOKEN),
    (403, said("Insufficient balance", type="403"), BlockedError, K.NO_BALANCE),
    (402, b"", BlockedError, K.NO_BALANCE),
    (400, said("balance is insufficient"), BlockedError, K.NO_BALANCE),
    (400, said("Your credits are not enough for this video"), BlockedError, K.NO_BALANCE),
    (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}, BlockedError, K.NO_BALANCE),
    (403, said("Account has been suspended for violating our usage policies"), BlockedError, K.ACCOUNT_SUSPENDED),
    (401, said("This account is deactivated", code="account_deactivated"), BlockedError, K.ACCOUNT_SUSPENDED),
    (403, b"", BlockedError, K.BAD_TOKEN),
    (403, b"<html>Attention required! Sensitive content blocked</html>", BlockedError, K.BAD_TOKEN),
    (403, said("Forbidden"), BlockedError, K.BAD_TOKEN),
    (403, said("Request is prohibited: the image shows a real person"), RejectedError, K.CONTENT_POLICY),
    (403, {"error": {"code": "video_genration_prompt_unsafe", "message": "the content of prompt field is unsafe"}}, RejectedError, K.CONTENT_POLICY),
    (403, MISMATCH, RejectedError, K.IMAGE_MISMATCH),
    (403, said("model sora-2-pro is not available to this account", code="ModelNotOpen"), ModelGoneError, K.MODEL_GONE),
    (429, said("slow down"), TransientError, K.RATE_LIMITED),
    (429, said("You exceeded your quota", code="insufficient_quota"), BlockedError, K.NO_BALANCE),
    (502, b"<html>Bad gateway</html>", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (504, said("timeout"), AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (524, b"", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (200, b"<html>welcome</html>", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (200, b"", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (200, {"data": {}, "code": 200, "message": "success"}, AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (200, {"code": 401, "message": "Token cannot be empty"}, BlockedError, K.BAD_TOKEN),
    (200, {"code": 429, "message": "slow down"}, TransientError, K.RATE_LIMITED),
    (200, {"code": 400, "error": {"type": "503", "message": "no"}}, RejectedError, K.CONTENT_POLICY),
    (200, {"code": 504, "message": "upstream"}, AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    (200, {"code": 1013, "message": "hm"}, AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
]  # fmt: skip


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@pytest.mark.parametrize(("status", "body", "error", "kind"), SUBMITS)
def test_submit_failure(status: int, body: Any, error: type[ProviderError], kind: ErrorKind) -> None:
    retry_after_s = 7 if error is TransientError else None
    found = classify_submit_failure(status, as_bytes(body), retry_after_s=retry_after_s)
    assert (type(found), found.kind, found.http_status) == (error, kind, status)
    if isinstance(found, TransientError):
        assert found.retry_after_s == 7


def test_retry_after_is_a_refusal_for_now_unless_the_answer_was_lost() -> None:
    known = classify_submit_failure(503, as_bytes(said("something went wrong")), retry_after_s=7)
    lost = classify_submit_failure(503, as_bytes(said("upstream timed out")), retry_after_s=7)
    assert (type(known), type(lost)) == (TransientError, AmbiguousSubmitError)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_account_whose_server_errors_are_never_billed_is_asked_again(status: int) -> None:
    for body in (b"", as_bytes(said("internal")), as_bytes(said("upstream timed out"))):
        assert type(classify_submit_failure(status, body, server_errors_unbilled=True)) is TransientError
    policy = classify_submit_failure(
        500, as_bytes(said("x", code="moderation_blocked")), server_errors_unbilled=True
    )
    assert type(policy) is RejectedError
    assert type(classify_submit_failure(408, b"", server_errors_unbilled=True)) is AmbiguousSubmitError
    assert type(classify_submit_failure(524, b"", server_errors_unbilled=True)) is AmbiguousSubmitError


POLLS: list[tuple[int, Any, type[ProviderError], ErrorKind]] = [
    (400, POLICY, GenerationFailedError, K.CONTENT_POLICY),
    (410, b"", GenerationFailedError, K.EXPIRED),
    (403, said("The prompt was blocked by our content policy"), GenerationFailedError, K.CONTENT_POLICY),
    (403, said("Access to private predictions is prohibited"), BlockedError, K.BAD_TOKEN),
    (403, said("This account has been suspended"), BlockedError, K.ACCOUNT_SUSPENDED),
    (503, said("moderation service is temporarily unavailable"), TransientError, K.UNAVAILABLE),
    (503, said("content filter: upstream timed out"), TransientError, K.UNAVAILABLE),
    (400, said("nudity"), TransientError, K.UNAVAILABLE),
    (401, b"", BlockedError, K.BAD_TOKEN),
    (403, said("Insufficient balance"), BlockedError, K.NO_BALANCE),
    (403, said("Invalid Token"), BlockedError, K.BAD_TOKEN),
    (404, said("not found"), TransientError, K.EXPIRED),
    (429, b"", TransientError, K.RATE_LIMITED),
    (400, said("bad"), TransientError, K.UNAVAILABLE),
    (500, b"", TransientError, K.UNAVAILABLE),
    (502, b"", TransientError, K.UNAVAILABLE),
    (302, b"", TransientError, K.UNAVAILABLE),
    (200, b"<html>", TransientError, K.UNREADABLE_ANSWER),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "error", "kind"), POLLS)
def test_poll_failure(status: int, body: Any, error: type[ProviderError], kind: ErrorKind) -> None:
    found = classify_poll_failure(status, as_bytes(body))
    assert (type(found), found.kind) == (error, kind)


@pytest.mark.parametrize(
    ("job", "kind", "retryable"),
    [
        ({"status": "failed", "error": None}, K.PROVIDER_INTERNAL, False),
        ({"status": "failed"}, K.PROVIDER_INTERNAL, False),
        ({"status": "failed", "error": "generation failed, please try again later"}, K.PROVIDER_INTERNAL, False),
        ({"status": "failed", "error": {"code": 503, "message": "Service temporarily unavailable"}}, K.NO_RESOURCE, True),
        ({"status": "failed", "error": {"code": "internal_error", "message": ""}}, K.PROVIDER_INTERNAL, True),
        ({"status": "failed", "error": {"code": "internal_error", "message": "a word more"}}, K.PROVIDER_INTERNAL, False),
        ({"status": "failed", "error": "Internal error", "native_status": "content_moderated"}, K.CONTENT_POLICY, False),
        ({"status": "failed", "error": "internal error: content blocked due to safety concerns"}, K.CONTENT_POLICY, False),
        ({"status": "no_resource", "error": "Content blocked due to safety concerns"}, K.CONTENT_POLICY, False),
        ({"status": "no_resource", "error": "a word that nobody knows"}, K.NO_RESOURCE, False),
        ({"status": "timeout"}, K.PROVIDER_INTERNAL, True),
        ({"status": "rejected", "error": "internal error"}, K.INVALID_REQUEST, False),
        ({"status": "blocked"}, K.CONTENT_POLICY, False),
        ({"status": "failed", "error": None, "fail_reason": "sensitive_words_detected"}, K.CONTENT_POLICY, False),
        ({"status": "failed", "error": "internal error"}, K.PROVIDER_INTERNAL, True),
        ({"status": "failed", "error": {"code": "moderation_blocked", "message": "x"}}, K.CONTENT_POLICY, False),
        ({"status": "failed", "error": "Output violates our content policy"}, K.CONTENT_POLICY, False),
        ({"status": "failed", "has_nsfw_contents": [True]}, K.CONTENT_POLICY, False),
        ({"status": "failed", "error": {"code": 503, "message": "no"}}, K.CONTENT_POLICY, False),
        ({"status": "failed", "error": "Inpaint image must match the requested width and height"}, K.IMAGE_MISMATCH, False),
        ({"status": "failed", "error": {"type": "invalid_request_error", "message": "x"}}, K.INVALID_REQUEST, False),
        ({"status": "failed", "error": "server is busy"}, K.NO_RESOURCE, True),
        ({"status": "no_resource", "error": None}, K.NO_RESOURCE, True),
        ({"status": "cancelled"}, K.CANCELLED, False),
        ({"status": "expired", "error": "guidelines"}, K.EXPIRED, False),
    ],
)  # fmt: skip
def test_job_failure(job: dict[str, Any], kind: ErrorKind, retryable: bool) -> None:
    found = classify_job_failure(read_answer(as_bytes({"data": job, "code": 200})), meaning_of(job["status"]))
    assert (found.kind, found.retryable) == (kind, retryable)
    assert found.message


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"error": "the words"}, "the words"),
        ({"error": {"code": "E1", "message": "the words"}}, "the words"),
        ({"error": {"code": "content_moderated", "message": ""}}, "content_moderated"),
        ({"error": None, "fail_reason": "the words"}, "the words"),
        ({"error": [{"message": "the words"}]}, "the words"),
        ({"error": "task failed", "rejectReason": "the words"}, "the words"),
        ({"error": None}, "the provider gave no reason (status 'failed')"),
    ],
)
def test_failure_is_told_in_the_providers_words(job: dict[str, Any], message: str) -> None:
    body = {"data": {"status": "failed", **job}, "code": 200, "message": "success"}
    assert classify_job_failure(read_answer(as_bytes(body)), meaning_of("failed")).message == message


def test_echoed_prompt_is_not_the_providers_opinion() -> None:
    prompt = "A judge explains the content policy of a library"
    body = said(f"bad duration for prompt {prompt!r}")
    assert classify_submit_failure(400, as_bytes(body), prompt=prompt).kind is K.INVALID_REQUEST
    assert classify_submit_failure(400, as_bytes(body)).kind is K.CONTENT_POLICY


def test_prompt_that_is_echoed_in_part_stops_no_account_and_proves_no_refusal() -> None:
    prompt = (
        "A banker reads: insufficient funds, your account has been suspended, invalid api key, content policy"
    )
    for cut in (15, 31, 67, 84):
        echo = as_bytes(said(f"bad value: {prompt[:cut].upper()}…"))
        assert classify_submit_failure(400, echo, prompt=prompt).kind is K.INVALID_REQUEST
        assert type(classify_submit_failure(500, echo, prompt=prompt)) is AmbiguousSubmitError
    coded = as_bytes(said(prompt, code="insufficient_quota"))
    assert classify_submit_failure(400, coded, prompt=prompt).kind is K.NO_BALANCE


def test_message_is_short_and_without_the_key() -> None:
    body = said("x" * 490 + f" Incorrect key {KEY}, Authorization: Bearer {KEY}" + "y" * 1000)
    for error in (
        classify_submit_failure(401, as_bytes(body), secret=KEY),
        classify_poll_failure(401, as_bytes(body), secret=KEY),
        classify_submit_failure(200, f"key={KEY}".encode(), secret=KEY),
    ):
        assert len(error.message) <= 500
        assert "sk-" not in error.message
