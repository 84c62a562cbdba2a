"""What the unified format and ``/v1/videos`` have of their own; what they share with the native one is tried by its tests."""

import re
import time
from typing import Any

import httpx
import pytest

from sora_pipeline_tests.sandbox.conftest import Client


def unified(sandbox: Client, **fields: Any) -> httpx.Response:
    return sandbox.http.post(
        "/api/v3/videos", json={"model": "openai/sora-2-pro", "prompt": "a fox", **fields}
    )


def video(sandbox: Client, **fields: Any) -> dict[str, Any]:
    answer = sandbox.http.post("/v1/videos", json={"prompt": "a fox", **fields})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def done(sandbox: Client, path: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while (body := sandbox.http.get(path).json())["status"].lower() in {
        "queued",
        "pending",
        "in_progress",
    }:
        assert time.monotonic() < deadline
        time.sleep(0.03)
    return dict(body)


# --- unified -----------------------------------------------------------------------------------------------------------


def test_unified_submit_is_202_with_a_relative_polling_url(sandbox: Client) -> None:
    answer = unified(sandbox)
    body = answer.json()
    assert (answer.status_code, body["status"]) == (202, "pending")
    assert re.fullmatch(r"job-[0-9a-f]{32}", body["id"])
    assert body["polling_url"] == f"/api/v3/tasks/result/{body['id']}"
    result = done(sandbox, body["polling_url"])
    assert result == sandbox.http.get(f"/api/v3/videos/{body['id']}").json()
    assert (result["status"], result["native_status"]) == ("completed", "completed")
    assert len(result["unsigned_urls"]) == 1


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"size": "1792x1024"}, "1792x1024"),
        ({"resolution": "1080p"}, "1920x1080"),
        ({"resolution": "720", "aspect_ratio": "9:16"}, "720x1280"),
        ({"model": "doubao/dreamina-seedance-2-0-260128", "size": "1280x720", "duration": 5}, "720x1280"),
        ({}, "720x1280"),
    ],
)
def test_unified_frame_size_is_read_as_each_model_does(
    sandbox: Client, fields: dict[str, Any], size: str
) -> None:
    """The one that is asked for a size which it does not read ignores it without a word."""
    assert unified(sandbox, **fields).status_code == 202
    assert sandbox.bill()["items"][0]["size"] == size


@pytest.mark.parametrize(
    "fields",
    [
        {"size": "1280*720"},
        {"size": 3},
        {"resolution": "8K"},
        {"resolution": "720p", "aspect_ratio": "1:7"},
        {"duration": 5},
        {"frame_images": [{"type": "image_url", "frame_type": "last_frame", "image_url": {"url": "x"}}]},
        {"frame_images": "x"},
        {"prompt": "half a smile \ud83d"},
        {"prompt": None},
        {"model": "sora-2-pro"},
        {"model": "alibaba/sora-2-pro"},
    ],
)
def test_unified_bad_requests_are_400_in_the_specifications_shape(
    sandbox: Client, fields: dict[str, Any]
) -> None:
    import json

    body = json.dumps({"model": "openai/sora-2-pro", "prompt": "a fox", **fields})
    answer = sandbox.http.post("/api/v3/videos", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
    assert sandbox.bill()["accepted"] == 0


def test_unified_errors_can_be_flat_as_on_the_pages(sandbox: Client) -> None:
    sandbox.change(flat_errors=True)
    answer = unified(sandbox, model="nobody/knows")
    assert (answer.status_code, answer.json()) == (
        400,
        {"code": 400, "message": "unknown video model", "type": "error"},
    )


# --- /v1/videos --------------------------------------------------------------------------------------------------------


def test_gptproto_flavour_adds_a_url_and_has_timestamps_as_text(sandbox: Client) -> None:
    sandbox.change(openai_flavour="gptproto")
    created = video(sandbox, model="sora-2-pro", seconds="4", size="1280x720")
    result = done(sandbox, f"/v1/videos/{created['id']}")
    assert int(result["expires_at"]) - int(result["completed_at"]) == 3600
    assert httpx.get(result["soraVideoUrl"]).headers["content-type"] == "video/mp4"
    sandbox.change(openai_flavour="openai")
    plain = sandbox.http.get(f"/v1/videos/{created['id']}").json()
    assert "soraVideoUrl" not in plain
    assert plain["created_at"] == int(result["created_at"])


def test_content_needs_the_key_and_a_video_that_is_ready(sandbox: Client) -> None:
    sandbox.change(render_s=0.4)
    created = video(sandbox)
    path = f"/v1/videos/{created['id']}/content"
    assert sandbox.http.get(path).status_code == 404
    done(sandbox, f"/v1/videos/{created['id']}")
    assert httpx.get(f"{sandbox.endpoint.url}{path}").status_code == 401
    assert sandbox.http.get(path, params={"variant": "spritesheet"}).status_code == 400
    part = sandbox.http.get(path, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")
    assert sandbox.bill()["keys_leaked"] == 0


def test_only_what_has_ended_can_be_deleted_and_the_bill_remembers(sandbox: Client) -> None:
    sandbox.change(render_s=60)
    running = video(sandbox)["id"]
    assert sandbox.http.delete(f"/v1/videos/{running}").status_code == 400
    assert sandbox.http.get(f"/v1/videos/{running}").status_code == 200
    sandbox.change(render_s=0)
    ended = video(sandbox, prompt="a fox [sandbox:fail]")["id"]
    done(sandbox, f"/v1/videos/{ended}")
    assert sandbox.http.delete(f"/v1/videos/{ended}").json()["deleted"] is True
    assert [item["id"] for item in sandbox.http.get("/v1/videos").json()["data"]] == [running]
    assert sandbox.bill()["accepted"] == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
def test_bad_list_queries_are_400(sandbox: Client, query: str) -> None:
    assert sandbox.http.get(f"/v1/videos?{query}").status_code == 400


def test_ids_of_one_format_mean_nothing_in_another(sandbox: Client) -> None:
    native, task = sandbox.accept(), unified(sandbox).json()["id"]
    for path in (f"/v1/videos/{native}", f"/v1/videos/{task}", f"/api/v3/videos/{native}"):
        assert sandbox.http.get(path).status_code == 404
