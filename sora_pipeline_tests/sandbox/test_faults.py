import io
import time
from typing import Any

import httpx
import pytest

from sora_pipeline.sandbox.faults import FAULTS
from sora_pipeline_tests.sandbox.conftest import FRAMES, Client


def marked(name: str) -> str:
    return f"a fox [sandbox:{name}] in the snow"


def accepted(sandbox: Client) -> int:
    return int(sandbox.bill()["accepted"])


def test_fault_table_is_served(sandbox: Client) -> None:
    rows = sandbox.http.get("/sandbox/faults").json()
    assert [row["name"] for row in rows] == list(FAULTS)
    assert {row["when"] for row in rows} == {"submit", "render", "output"}


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        (
            "policy",
            400,
            {"message": "Input may not meet the guidelines. Please adjust it and try again.", "type": "503"},
        ),
        ("bad-token", 403, {"message": "Invalid Token", "type": "403"}),
        (
            "content-403",
            403,
            {
                "message": "This request was blocked: the prompt or the image may violate our content policy",
                "type": "403",
            },
        ),
        ("no-balance", 403, {"message": "Insufficient balance", "type": "403"}),
        ("error-500", 500, {"message": "Internal server error", "type": "500"}),
        ("error-503", 503, {"message": "Service temporarily unavailable", "type": "503"}),
        (
            "model-gone",
            404,
            {
                "message": "The requested model has been retired and is no longer available",
                "type": "model_not_found",
            },
        ),
    ],
)
def test_refused_submit_is_not_billed(sandbox: Client, name: str, status: int, error: dict[str, str]) -> None:
    for _ in range(2):
        answer = sandbox.submit(marked(name))
        assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert accepted(sandbox) == 0


def test_html_502_is_a_page(sandbox: Client) -> None:
    answer = sandbox.submit(marked("html-502"))
    assert answer.status_code == 502
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(("name", "status"), [("rate-limit-once", 429), ("error-503-once", 503)])
def test_once_means_the_first_submit_of_a_prompt(sandbox: Client, name: str, status: int) -> None:
    assert sandbox.submit(marked(name)).status_code == status
    assert sandbox.submit(marked(name)).status_code == 200
    assert sandbox.submit("another " + marked(name)).status_code == status


def test_lost_answer_is_billed_and_reset_is_not(sandbox: Client) -> None:
    with pytest.raises(httpx.TransportError):
        sandbox.submit(marked("reset"))
    assert accepted(sandbox) == 0
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.submit(marked("lost-answer"))
    assert accepted(sandbox) == 1


def test_lost_answer_once_goes_well_the_second_time(sandbox: Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.submit(marked("lost-answer-once"))
    assert sandbox.submit(marked("lost-answer-once")).status_code == 200
    assert [entry["count"] for entry in sandbox.bill()["duplicates"]] == [2]


def test_slow_answer_takes_its_time(sandbox: Client) -> None:
    began = time.monotonic()
    sandbox.accept(marked("slow-answer"))
    assert time.monotonic() - began > 0.6


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("policy-late", "failed", "content policy"),
        ("late-wording", "failed", "not able to turn this scene"),
        ("fail", "failed", "Internal error"),
        ("no-resource", "no_resource", "No resource"),
        ("cancelled", "cancelled", "cancelled"),
    ],
)
def test_job_ends_without_a_video(sandbox: Client, name: str, status: str, words: str) -> None:
    data = sandbox.wait(sandbox.accept(marked(name)))
    assert data["status"] == status
    assert words in data["error"]
    assert data["outputs"] == []


@pytest.mark.parametrize(("name", "status"), [("no-resource-once", "no_resource"), ("fail-once", "failed")])
def test_second_attempt_succeeds(sandbox: Client, name: str, status: str) -> None:
    assert sandbox.wait(sandbox.accept(marked(name)))["status"] == status
    assert sandbox.wait(sandbox.accept(marked(name)))["status"] == "completed"


def test_stuck_job_never_ends_and_slow_one_takes_three_times_as_long(sandbox: Client) -> None:
    stuck, slow = sandbox.accept(marked("stuck")), sandbox.accept(marked("slow"))
    began = time.monotonic()
    sandbox.wait(slow)
    assert time.monotonic() - began > 0.75
    assert sandbox.poll(stuck)["status"] == "processing"


def test_status_words_can_be_odd_or_in_capitals(sandbox: Client) -> None:
    assert sandbox.poll(sandbox.accept(marked("unknown-status")))["status"] == "warming_up"
    loud = sandbox.accept(marked("uppercase"))
    assert sandbox.poll(loud)["status"] == "CREATED"
    assert sandbox.wait(loud)["status"] == "COMPLETED"
    odd = sandbox.accept(marked("odd-status"))
    assert sandbox.poll(odd)["status"] == "created"
    deadline = time.monotonic() + 20
    while not (data := sandbox.poll(odd))["outputs"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert data["status"] == "wrapped_up"


def test_polls_can_be_answered_about_another_job(sandbox: Client) -> None:
    always, twice = sandbox.accept(marked("foreign-id")), sandbox.accept(marked("foreign-id-once"))
    assert [sandbox.poll(twice)["id"] == twice for _ in range(3)] == [False, False, True]
    assert all(sandbox.poll(always)["id"] != always for _ in range(4))
    assert {len(sandbox.poll(always)["id"])} == {len(always)}


def test_model_fallback_shows_in_every_answer(sandbox: Client) -> None:
    data = sandbox.submit(marked("model-fallback")).json()["data"]
    assert data["model"] == sandbox.poll(data["id"])["model"] == "seedance-2"


def test_first_polls_fail_in_different_ways(sandbox: Client) -> None:
    url = f"/api/v3/predictions/{sandbox.accept(marked('poll-errors'))}/result"
    assert sandbox.http.get(url).status_code == 500
    assert sandbox.http.get(url).status_code == 503
    with pytest.raises(httpx.TransportError):
        sandbox.http.get(url)
    assert sandbox.http.get(url).status_code == 200


def test_empty_output_stays_empty_and_once_does_not(sandbox: Client) -> None:
    never, later = sandbox.accept(marked("empty-output")), sandbox.accept(marked("empty-output-once"))
    assert [sandbox.wait(never)["outputs"] for _ in range(4)] == [[]] * 4
    assert [len(sandbox.wait(later)["outputs"]) for _ in range(4)] == [0, 0, 1, 1]


def test_late_file_appears(sandbox: Client) -> None:
    url = sandbox.wait(sandbox.accept(marked("late-file")))["outputs"][0]
    assert httpx.get(url).status_code == 404
    time.sleep(0.6)
    assert httpx.get(url).status_code == 200


def test_truncated_file_has_a_good_header_and_cannot_be_decoded(sandbox: Client) -> None:
    answer = httpx.get(sandbox.wait(sandbox.accept(marked("truncated")))["outputs"][0])
    assert int(answer.headers["content-length"]) == len(answer.content)
    with opened(answer.content) as video:
        assert (video.duration, video.streams.video[0].frames) == (4_000_000, FRAMES)
    assert decodable_frames(answer.content) < FRAMES


def test_damaged_file_has_its_full_length_and_cannot_be_decoded(sandbox: Client) -> None:
    content = httpx.get(sandbox.wait(sandbox.accept(marked("damaged")))["outputs"][0]).content
    with opened(content) as video:
        assert video.streams.video[0].frames == FRAMES
    assert decodable_frames(content) < FRAMES


def test_odd_metadata_are_no_utf_8_in_a_good_video(sandbox: Client) -> None:
    content = sandbox.video(marked("odd-metadata"))
    assert content.count(b"\xff\xc3\x28\xed") >= 2
    with pytest.raises(UnicodeDecodeError):
        opened(content)


def test_short_body_breaks_off_and_can_be_resumed(sandbox: Client) -> None:
    url = sandbox.wait(sandbox.accept(marked("short-body")))["outputs"][0]
    with httpx.stream("GET", url) as answer:
        promised = int(answer.headers["content-length"])
        received = until_cut(answer)
    assert len(received) == promised // 2
    rest = httpx.get(url, headers={"Range": f"bytes={len(received)}-"})
    assert len(received + rest.content) == promised
    assert decodable_frames(received + rest.content) == FRAMES


def until_cut(answer: httpx.Response) -> bytes:
    received = b""
    try:
        for chunk in answer.iter_bytes():
            received += chunk
    except httpx.RemoteProtocolError:
        return received
    raise AssertionError("the body came whole")


def opened(content: bytes) -> Any:
    import av

    return av.open(io.BytesIO(content))


def decodable_frames(content: bytes) -> int:
    import av

    frames = 0
    with opened(content) as video:
        try:
            for _ in video.decode(video=0):
                frames += 1
        except av.FFmpegError:
            pass
    return frames


def test_wrong_size_is_a_good_video_of_another_size(sandbox: Client) -> None:
    with opened(sandbox.video(marked("wrong-size"))) as video:
        stream = video.streams.video[0]
        assert (stream.width, stream.height) == (360, 640)


def test_wrong_type_is_json(sandbox: Client) -> None:
    answer = httpx.get(sandbox.wait(sandbox.accept(marked("wrong-type")))["outputs"][0])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


def test_expired_url_is_replaced_by_the_next_poll(sandbox: Client) -> None:
    prediction = sandbox.accept(marked("expired"))
    first = sandbox.wait(prediction)["outputs"][0]
    assert httpx.get(first).status_code == 410
    second = sandbox.wait(prediction)["outputs"][0]
    assert second != first
    assert httpx.get(second).headers["content-type"] == "video/mp4"
    assert httpx.get(first).status_code == 410


def test_faults_add_up(sandbox: Client) -> None:
    data = sandbox.wait(sandbox.accept("[sandbox:uppercase] [sandbox:policy-late]"))
    assert data["status"] == "FAILED"


def test_rates_hit_the_same_submits_for_the_same_seed(sandbox: Client) -> None:
    def outcomes() -> list[int]:
        sandbox.http.post("/sandbox/reset")
        return [sandbox.submit(f"clip {number}").status_code for number in range(30)]

    sandbox.change(fault_rates={"error-503": 0.3, "policy": 0.2}, render_s=60)
    first = outcomes()
    assert set(first) == {200, 400, 503}
    assert outcomes() == first
