"""Answers to polls that are about another clip, or in words that nobody documented: understood, or stopped with a sentence."""

import base64
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.provider.errors import ErrorKind, TransientError
from sora_pipeline.provider.http import RawAnswer
from sora_pipeline.provider.prediction_ids import is_other_prediction
from sora_pipeline.provider.predictions import read_prediction
from sora_pipeline.provider.protocol import Prediction, PredictionState
from sora_pipeline.provider.statuses import meaning_of

BASE = "https://gptproto.com"
CLIP = "https://oss.gptproto.com/ai/clip.mp4"
PICTURE = "https://oss.gptproto.com/ai/first-frame.png"
W, R, S, F = (
    PredictionState.WAITING,
    PredictionState.RUNNING,
    PredictionState.SUCCEEDED,
    PredictionState.FAILED,
)


def polled(job: dict[str, Any], prediction_id: str = "abc", *, envelope: bool = True) -> Prediction:
    body = {"data": job, "code": 200, "message": "success"} if envelope else job
    return read_prediction(RawAnswer(200, json.dumps(body).encode(), None), prediction_id, BASE)


# --- whose answer it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["processing", "completed", "failed", "no_resource", "wrapped_up"])
@pytest.mark.parametrize("envelope", [True, False])
def test_answer_about_another_clip_is_never_taken(status: str, envelope: bool) -> None:
    job = {"id": "xyz", "status": status, "outputs": [CLIP], "error": "internal error"}
    with pytest.raises(TransientError, match="about the prediction 'xyz', not about 'abc'") as caught:
        polled(job, envelope=envelope)
    assert caught.value.kind is ErrorKind.OTHER_PREDICTION


def test_clip_that_is_named_only_by_its_poll_url_is_another_one_too() -> None:
    with pytest.raises(TransientError):
        polled(
            {
                "status": "completed",
                "urls": {"get": f"{BASE}/api/v3/predictions/xyz/result"},
                "outputs": [CLIP],
            }
        )


def test_list_of_clips_without_ours_is_never_taken() -> None:
    body = {"data": [{"id": "x", "status": "completed", "outputs": [CLIP]}, {"id": "y", "status": "failed"}]}
    with pytest.raises(TransientError):
        read_prediction(RawAnswer(200, json.dumps(body).encode(), None), "abc", BASE)


LITELLM = (
    "video_"
    + base64.b64encode(b"litellm:custom_llm_provider:openai;model_id:sora-2;video_id:video_69").decode()
)
UUID = str(uuid.UUID(int=2**127 + 12345))


@pytest.mark.parametrize(
    ("asked", "job", "ours"),
    [
        ("42", {"id": 42}, True),
        ("042", {"id": 42}, False),
        ("sora-2:task_Ab", {"id": "sora-2:task_Ab"}, True),
        ("sora-2:task_Ab", {"id": "task_Ab"}, True),  # docs.gptproto.com, reverse format
        ("sora-2:task_Ab", {"id": "task_aB"}, False),
        ("sora-2:task_Ab", {"id": "sora-2%3Atask_Ab"}, True),
        ("sora-2:task_Ab", {"id": "sora-2-pro:task_Ab"}, True),
        ("task_Ab", {"id": "Ab"}, False),  # new-api's task_ ids are ids of their own
        ("task_Ab", {"id": "video_up", "task_id": "task_Ab"}, True),  # the upstream's beside the gateway's
        ("task_Ab", {"id": "video_up", "task_id": "task_Cd"}, False),
        ("task_Ab", {"task_id": "task_Ab"}, True),
        ("task_Ab", {"request_id": "trace-1"}, True),  # names no prediction
        (UUID, {"id": UUID.upper()}, True),
        (UUID, {"id": UUID.replace("-", "")}, True),
        ("abc", {"id": "ABC"}, False),
        (LITELLM, {"id": "video_69"}, True),
        (LITELLM.rstrip("="), {"id": LITELLM}, True),
        (LITELLM, {"id": "video_70"}, False),
        ("abc", {}, True),
    ],
)  # fmt: skip
def test_ids_are_compared_as_gateways_write_them(asked: str, job: dict[str, Any], ours: bool) -> None:
    job = {**job, "status": "completed", "outputs": [CLIP]}
    if ours:
        assert polled(job, asked).output_urls == (CLIP,)
        return
    with pytest.raises(TransientError) as caught:
        polled(job, asked)
    assert caught.value.kind is ErrorKind.OTHER_PREDICTION


@given(st.uuids(), st.uuids())
def test_ids_that_providers_make_are_never_taken_for_each_other(one: uuid.UUID, other: uuid.UUID) -> None:
    for form in ("{}", "task_{}", "sora-2:task_{}", "video_{}", "job-{}"):
        assert is_other_prediction(form.format(one), form.format(other)) == (one != other)


# --- status words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (
            "created queued IN_QUEUE Queueing Preparing NOT_START unknown waiting scheduling TASK_STATUS_QUEUED",
            W,
        ),
        ("processing Running IN_PROGRESS inProgress in-progress generating dreaming JOB_STATE_RUNNING", R),
        (
            "completed succeed SUCCEED Succeeded Success done finished FINISH ready Ready TASK_STATUS_SUCCEED",
            S,
        ),
        (
            "failed fail Fail FAILURE error rejected moderated blocked cancelled CANCEL expired timeout no-resource",
            F,
        ),
    ],
)
def test_synonyms_of_vendors_are_understood(words: str, state: PredictionState) -> None:
    assert {word: meaning_of(word).state for word in words.split()} == dict.fromkeys(words.split(), state)


@pytest.mark.parametrize("word", ["Request Moderated", "Content Moderated", "moderated", "blocked"])
def test_moderated_clip_is_about_its_content(word: str) -> None:
    error = polled({"id": "abc", "status": word}).error
    assert error is not None
    assert (error.kind, error.retryable) == (ErrorKind.CONTENT_POLICY, False)


ODD = "wrapped_up"
ERROR = {"message": "the scene was too wild", "code": 400}


@pytest.mark.parametrize(
    ("beside", "state"),
    [
        ({"outputs": [CLIP]}, S),
        ({"video": {"url": CLIP}}, S),
        ({"output": {"video_url": CLIP}, "progress": 100}, S),
        ({"outputs": [CLIP], "error": ERROR}, S),  # a paid video is not given up: fetching and decoding it decide
        ({"outputs": [], "error": ERROR}, F),
        ({"error": "the scene was too wild", "progress": 0}, F),
        ({"fail_reason": "the scene was too wild"}, F),
        ({"error": [{"message": "the scene was too wild"}]}, F),
        ({}, R),
        ({"outputs": [], "error": None, "fail_reason": ""}, R),
        ({"error": {"code": 0, "message": ""}}, R),
        ({"fail_reason": CLIP}, R),  # new-api once kept the finished video's URL there
        # What is shown while a clip renders is no output.
        ({"urls": {"get": f"{BASE}/api/v3/predictions/abc/result"}}, R),
        ({"outputs": [f"{BASE}/api/v3/predictions/abc/result"], "urls": {"get": f"{BASE}/api/v3/predictions/abc/result"}}, R),
        ({"url": CLIP}, R),
        ({"images": [PICTURE], "thumbnail": PICTURE, "input": {"image": PICTURE}}, R),
        ({"outputs": [PICTURE]}, R),
        ({"outputs": [CLIP], "progress": 40}, R),
        ({"completed_at": None}, R),
        ({"outputs": [CLIP], "progress": "40%"}, R),
    ],
)  # fmt: skip
def test_unknown_status_is_what_stands_beside_it(beside: dict[str, Any], state: PredictionState) -> None:
    found = polled({"id": "abc", "status": ODD, **beside})
    assert found.state is state
    assert found.warning is not None
    assert repr(ODD) in found.warning
    if state is F:
        assert found.error is not None
        assert (found.error.retryable, "too wild" in found.error.message) == (False, True)
    assert bool(found.output_urls) == (state is S)


def test_unknown_status_of_a_job_that_is_dated_completed_is_a_success() -> None:
    """A video object of OpenAI's names no URL: the format knows where the content is."""
    job = {
        "id": "abc",
        "object": "video",
        "status": ODD,
        "progress": 100,
        "completed_at": 1766556506,
        "error": None,
    }
    assert polled(job, envelope=False).state is S
    assert polled({**job, "error": ERROR}, envelope=False).state is F


def test_failure_of_an_unknown_status_is_not_bought_again_in_any_words() -> None:
    error = polled({"id": "abc", "status": ODD, "error": "Internal server error"}).error
    assert error is not None
    assert not error.retryable


@pytest.mark.parametrize("word", ["processing", "IN_PROGRESS", "queued", "generating"])
def test_known_running_word_wins_over_outputs_and_errors(word: str) -> None:
    found = polled(
        {"id": "abc", "status": word, "outputs": [CLIP], "video": {"url": CLIP}, "error": "queue is long"}
    )
    assert found.state in (W, R)
    assert (found.output_urls, found.error) == ((), None)


def test_finished_video_whose_error_has_a_code_is_not_lost() -> None:
    found = polled({"id": "abc", "status": "completed", "outputs": [CLIP], "error": ERROR})
    assert (found.state, found.output_urls) == (S, (CLIP,))
    assert "too wild" in (found.warning or "")


def test_envelope_that_refuses_is_believed_for_this_poll_only() -> None:
    for word in (ODD, "completed"):
        body = {"data": {"id": "abc", "status": word, "outputs": [CLIP]}, "code": 500, "message": "internal"}
        with pytest.raises(TransientError):
            read_prediction(RawAnswer(200, json.dumps(body).encode(), None), "abc", BASE)
