import base64
import contextlib
import hashlib
import http.server
import re
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from sora_pipeline_tests.sandbox.conftest import Client

Draw = Callable[[int, int], bytes]


def test_submit_answer_has_the_documented_shape(sandbox: Client) -> None:
    body = sandbox.submit().json()
    data = body["data"]
    assert (body["message"], body["code"]) == ("success", 200)
    assert list(data) == [
        "id",
        "model",
        "outputs",
        "urls",
        "hasNsfwContents",
        "status",
        "createdAt",
        "executionTime",
        "timings",
    ]
    assert data["outputs"] == []
    assert data["status"] == "created"
    assert data["urls"] == {"get": f"{sandbox.endpoint.url}/api/v3/predictions/{data['id']}/result"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", data["createdAt"])


def test_result_goes_from_created_over_processing_to_completed(sandbox: Client) -> None:
    sandbox.change(render_s=1)
    prediction = sandbox.accept()
    seen = []
    while not seen or seen[-1] != "completed":
        data = sandbox.poll(prediction)
        if data["status"] not in seen:
            seen.append(data["status"])
    assert seen == ["created", "processing", "completed"]
    assert data["error"] is None
    assert data["has_nsfw_contents"] == []
    assert len(data["outputs"]) == 1
    assert data["executionTime"] >= 1000


def test_asterisk_in_size_and_old_pro_route_are_accepted(sandbox: Client) -> None:
    sandbox.submit(size="1280*720").raise_for_status()
    answer = sandbox.http.post(
        "/api/v3/openai/sora-2/text-to-video-pro", json={"prompt": "old", "size": "1024*1792"}
    )
    assert answer.json()["data"]["model"] == "sora-2-pro"
    assert [item["size"] for item in sandbox.bill()["items"]] == ["1280x720", "1024x1792"]


@pytest.mark.parametrize("key", [None, "Bearer wrong", "sandbox", "Bearer"])
def test_missing_or_wrong_key_is_401(sandbox: Client, key: str | None) -> None:
    headers = {"Authorization": key} if key else {}
    url = f"{sandbox.endpoint.url}/api/v3/openai/sora-2/text-to-video"
    answer = httpx.post(url, json={"prompt": "x"}, headers=headers)
    assert answer.status_code == 401
    assert answer.json() == {"error": {"message": "Invalid signature", "type": "401"}}
    assert sandbox.bill()["accepted"] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"duration": 5},
        {"duration": 4.0},
        {"duration": True},
        {"size": "640x480"},
        {"size": "big"},
        {"prompt": ""},
        {"image": "file.png"},
        {"image": "data:image/png;base64,AAAA"},
        {"image": 3},
        {"prompt": "x [sandbox:no-such-fault]"},
    ],
)
def test_bad_parameters_are_400_and_not_billed(sandbox: Client, fields: dict[str, object]) -> None:
    answer = sandbox.submit(**{"prompt": "x", **fields})  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "400"
    assert sandbox.bill()["accepted"] == 0


def test_large_size_is_for_the_pro_model_only(sandbox: Client) -> None:
    assert sandbox.submit(model="sora-2", size="1024x1792").status_code == 400
    assert sandbox.submit(model="sora-2-pro", size="1024x1792").status_code == 200


def test_unknown_model_and_unknown_prediction(sandbox: Client) -> None:
    answer = sandbox.submit(model="sora-9")
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": 400, "message": "unknown video model"}}
    assert sandbox.http.get("/api/v3/predictions/nothing/result").status_code == 404


def test_image_of_another_size_is_refused(sandbox: Client, picture: Draw) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture(64, 64)).decode()
    answer = sandbox.submit(image=uri)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "Inpaint image must match the requested width and height"


def test_multipart_image_arrives_byte_for_byte(sandbox: Client, picture: Draw) -> None:
    content = picture(1280, 720)
    answer = sandbox.http.post(
        "/api/v3/openai/sora-2/image-to-video",
        data={"prompt": "ein Fuchs läuft", "duration": "4", "size": "1280x720"},
        files={"image": ("a.png", content, "image/png")},
    )
    answer.raise_for_status()
    item = sandbox.bill()["items"][0]
    assert item["image_sha256"] == hashlib.sha256(content).hexdigest()
    assert item["prompt"] == "ein Fuchs läuft"


def test_image_url_is_downloaded(sandbox: Client, picture: Draw) -> None:
    with image_server(picture(720, 1280)) as url:
        sandbox.submit(image=f"{url}/a.png").raise_for_status()
        answer = sandbox.submit(image=f"{url}/missing.png")
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "failed to download image")
    assert sandbox.bill()["items"][0]["image_sha256"] == hashlib.sha256(picture(720, 1280)).hexdigest()


@contextlib.contextmanager
def image_server(content: bytes) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/a.png" else 404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
