import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.media.images import ImageError, display_name, read_image
from sora_pipeline_tests.remote import put


class Site(BaseHTTPRequestHandler):
    requests: list[tuple[str, str]] = []  # noqa: RUF012 - emptied by the fixture

    def do_GET(self) -> None:
        self.requests.append((self.command, self.path))
        status = int(self.path[1:4])
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/200/cup.png")
        self.end_headers()
        self.wfile.write(b"picture" * 100_000)

    def do_HEAD(self) -> None:
        self.requests.append((self.command, self.path))
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    Site.requests.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def problem(uri: str, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(uri, **options)
    return caught.value


def test_a_local_path_is_read(tmp_path: Path):
    path = tmp_path / "a cup [1] #2.png"
    path.write_bytes(b"picture")

    assert read_image(str(path)) == b"picture"
    assert read_image(f"file://{path}") == b"picture"


def test_a_uri_of_a_listed_scheme_is_read_by_its_driver():
    put("gs://images/cup.png", b"picture")

    assert read_image("gs://images/cup.png") == b"picture"
    assert read_image("GS://images/cup.png") == b"picture"


def test_a_url_is_read_with_one_plain_get(site: str):
    assert len(read_image(f"{site}/200/cup.png?signature=a%2Fb%2B")) == 700_000
    assert Site.requests == [("GET", "/200/cup.png?signature=a%2Fb%2B")]


def test_reading_stops_at_the_limit(site: str, tmp_path: Path):
    (tmp_path / "big.png").write_bytes(bytes(1001))

    assert len(read_image(str(tmp_path / "big.png"), limit_bytes=1001)) == 1001
    assert "larger than" in problem(str(tmp_path / "big.png"), limit_bytes=1000).message
    assert "larger than 0.5 MiB" in problem(f"{site}/200/big", limit_bytes=2**19).message


@pytest.mark.parametrize(
    ("status", "transient"), [(403, False), (410, False), (429, True), (500, True), (503, True)]
)
def test_an_http_error_names_the_status_and_whether_waiting_helps(site: str, status: int, transient: bool):
    found = problem(f"{site}/{status}/cup.png?token=secret")

    assert f"HTTP {status}" in found.message
    assert found.transient is transient
    assert "secret" not in found.message


def test_a_url_that_leads_nowhere_does_not_exist(site: str):
    found = problem(f"{site}/404/cup.png")

    assert found.message == f"Image {site}/404/cup.png does not exist."
    assert not found.transient


def test_a_refused_connection_may_work_later(site: str):
    found = problem("http://127.0.0.1:9/cup.png")

    assert found.transient
    assert "could not be read" in found.message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.png", "does not exist"),
        ("", "is a folder"),
        ("empty.png", "is empty (0 bytes)"),
        ("a\0b", "could not be"),
    ],
)
def test_what_is_wrong_with_a_local_path_is_said(tmp_path: Path, name: str, said: str):
    (tmp_path / "empty.png").touch()

    found = problem(f"{tmp_path}/{name}")

    assert said in found.message
    assert str(tmp_path) in found.message
    assert not found.transient


def test_a_path_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert "permission denied" in problem("/images/cup.png").message


def test_a_missing_driver_is_named():
    found = problem("hf://datasets/somebody/cups/cup.png")

    assert "huggingface_hub" in found.message
    assert "Install that package" in found.message


def test_an_unknown_protocol_is_a_problem_for_good():
    found = problem("floppy://a/cup.png")

    assert (
        "floppy:// is not allowed; allowed are a path, and URIs that begin with file://, http"
        in found.message
    )
    assert not found.transient


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@host/cup.png?X-Amz-Signature=secret#x", "https://host/cup.png?***#***"),
        ("az://container/cup.png?sig=secret", "az://container/cup.png?***"),
        ("images/cup.png", "images/cup.png"),
        ("https://host?token=secret", "https://host?***"),
    ],
)
def test_messages_hold_no_secret_of_a_uri(uri: str, shown: str):
    assert display_name(uri) == shown


def test_messages_stay_short():
    assert len(display_name("x" * 5000)) == 300


def refuse(address: Any) -> socket.socket:
    if address[4][0] == "127.0.0.1":
        raise PermissionError("not here")
    return socket.socket(*address[:3])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_address_that_the_caller_refuses_is_not_connected_to(site: str, host: str):
    found = problem(site.replace("127.0.0.1", host) + "/200/cup.png", socket_factory=refuse)

    assert found.message == (
        f"Image {site.replace('127.0.0.1', host)}/200/cup.png was not read: {host} leads to an address that is not in "
        "the public internet."
    )
    assert not found.transient
    assert Site.requests == []


def test_the_refusal_holds_although_the_same_url_was_read_before(site: str):
    assert read_image(f"{site}/200/cup.png")
    assert read_image(f"{site}/200/cup.png", socket_factory=lambda address: socket.socket(*address[:3]))
    problem(f"{site}/200/cup.png", socket_factory=refuse)

    assert len(Site.requests) == 2


def test_a_redirect_to_an_address_that_the_caller_refuses_is_not_followed(site: str):
    seen: list[str] = []

    def once(address: Any) -> socket.socket:
        seen.append(address[4][0])
        if len(seen) > 1:
            raise PermissionError("not here")
        return socket.socket(*address[:3])

    found = problem(f"{site}/302/cup.png", socket_factory=once)

    assert "localhost leads to an address" in found.message
    assert [path for _, path in Site.requests] == ["/302/cup.png"]
