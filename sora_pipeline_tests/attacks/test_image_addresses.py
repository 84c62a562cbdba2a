"""Addresses in a manifest that try to make this machine read from its own network, its own files in disguise, or for ever."""

import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.uris import read_to_spool
from sora_pipeline.media.images import ImageError, read_image
from sora_pipeline.provider.addresses import public_only
from sora_pipeline.schemes import SCHEMES, why_refused


class Private(BaseHTTPRequestHandler):
    """A service of the private network; it counts who reaches it."""

    reached: list[str] = []  # noqa: RUF012 - emptied by the fixture

    def do_GET(self) -> None:
        self.reached.append(self.path)
        if self.path.startswith("/redirect-to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/redirect-to/"))
        else:
            self.send_response(200)
        self.end_headers()
        self.wfile.write(b"private")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a private service that nothing may reach."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Private.reached.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Private)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def refused(uri: str, **options: object) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(uri, **({"socket_factory": public_only} | options))
    assert not caught.value.transient, caught.value
    return caught.value.message


CHAINS = [
    "zip://cup.png::http://127.0.0.1:{port}/a.zip",
    "ZIP://cup.png::HTTP://127.0.0.1:{port}/a.zip",
    "tar://cup.png::http://127.0.0.1:{port}/a.tar",
    "simplecache::http://127.0.0.1:{port}/cup.png",
    "filecache::http://127.0.0.1:{port}/cup.png",
    "blockcache::http://127.0.0.1:{port}/cup.png",
    "reference://cup.png::http://127.0.0.1:{port}/refs.json",
    "dir://cup.png::http://127.0.0.1:{port}/",
    "s3://bucket/cup.png::http://127.0.0.1:{port}/",
    "https://example.com/a::http://127.0.0.1:{port}/cup.png",
    "http://[2001:db8::1]/a::http://127.0.0.1:{port}/cup.png",
    "file:///tmp/a::http://127.0.0.1:{port}/cup.png",
]
DRIVERS = [
    "webhdfs://127.0.0.1:{port}/cup.png",
    "ftp://127.0.0.1:{port}/cup.png",
    "sftp://127.0.0.1:{port}/cup.png",
    "ssh://127.0.0.1:{port}/cup.png",
    "smb://127.0.0.1:{port}/share/cup.png",
    "hdfs://127.0.0.1:{port}/cup.png",
    "jupyter://127.0.0.1:{port}/cup.png",
    "dbfs://127.0.0.1:{port}/cup.png",
    "dask://127.0.0.1:{port}/cup.png",
    "github://owner:repository@main/cup.png",
    "git:///repository:cup.png",
    "zip:///tmp/a.zip",
    "tar:///tmp/a.tar",
    "libarchive:///tmp/a.7z",
    "reference://refs.json",
    "dir:///tmp",
    "local:///tmp/cup.png",
    "memory://cup.png",
    "generic://127.0.0.1:{port}/cup.png",
    "data://cup.png",
    "unix://tmp/socket",
    " http://127.0.0.1:{port}/cup.png",
    "\thttp://127.0.0.1:{port}/cup.png",
    "ht%74p://127.0.0.1:{port}/cup.png",
    "http:// ::http://127.0.0.1:{port}/cup.png",
]


@pytest.mark.parametrize("uri", CHAINS + DRIVERS)
def test_only_listed_schemes_are_opened_and_nothing_behind_another_address(uri: str, private: int):
    message = refused(uri.format(port=private))

    assert "allowed are a path, and URIs that begin with file://, http://, https://, s3://" in message
    assert Private.reached == []


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:{port}/cup.png",
        "HTTP://127.0.0.1:{port}/cup.png",
        "hTTp://LOCALHOST:{port}/cup.png",
        "http://localhost.:{port}/cup.png",
        "http://me:secret@127.0.0.1:{port}/cup.png",
        "http://example.com@127.0.0.1:{port}/cup.png",
        "http://127.1:{port}/cup.png",
        "http://2130706433:{port}/cup.png",
        "http://0x7f000001:{port}/cup.png",
        "http://0177.0.0.1:{port}/cup.png",
        "http://0:{port}/cup.png",
        "http://[::1]:{port}/cup.png",
        "http://[::ffff:127.0.0.1]:{port}/cup.png",
        "http://[::ffff:7f00:1]:{port}/cup.png",
        "http://127%2e0%2e0%2e1:{port}/cup.png",
        "http://%31%32%37.0.0.1:{port}/cup.png",
        "http://\uff11\uff12\uff17.0.0.1:{port}/cup.png",
        "http://169.254.169.254/latest/meta-data",
    ],
)
def test_no_spelling_of_a_private_host_is_connected_to(uri: str, private: int):
    with pytest.raises(ImageError):
        read_image(uri.format(port=private), socket_factory=public_only)

    assert Private.reached == []


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/x",
        "http://[::1]:{port}/x",
        "file:///etc/hostname",
        "ftp://127.0.0.1:{port}/x",
    ],
)
def test_a_redirect_leads_nowhere_that_the_address_itself_could_not(target: str, private: int):
    first: list[str] = []

    def only_the_first(address: tuple) -> socket.socket:
        if first:
            return public_only(address)
        first.append(address[4][0])
        return socket.socket(*address[:3])

    target = target.format(port=private)
    with pytest.raises(ImageError):
        read_image(f"http://127.0.0.1:{private}/redirect-to/{target}", socket_factory=only_the_first)

    assert [path for path in Private.reached if not path.startswith("/redirect-to/")] == []


@pytest.mark.parametrize(
    "uri", ["file:{path}", "file:/{path}x", "data:image/png;base64,cHJpdmF0ZQ==", "zip:{path}"]
)
def test_what_has_no_slashes_is_a_path_that_is_not_there(uri: str, tmp_path: Path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"private")

    assert "does not exist" in refused(uri.format(path=secret))


def test_an_archive_in_the_same_folder_is_not_opened(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cup.png", b"picture")

    assert "names one file behind another" in refused(f"zip://cup.png::{tmp_path}/a.zip")
    assert "names one file behind another" in refused(f"zip://cup.png::file://{tmp_path}/a.zip")


@pytest.mark.parametrize(
    "uri",
    [
        "/images/a::b.png",
        "/images/http://a.png",
        "cup.png",
        "FILE:///images/cup.png",
        "https://example.com/cup.png?a=b",
        "http://[2606:4700::1111]/cup.png",
        *(f"{scheme}://bucket/cup.png" for scheme in SCHEMES),
    ],
)
def test_what_is_allowed_is_allowed(uri: str):
    assert why_refused(uri) is None


@pytest.mark.parametrize(
    "uri", ["s3://AKIA:s3cr3t@bucket/a.png", "abfs://clips:s3cr3t@acme.dfs.core.windows.net/a.png"]
)
def test_addresses_of_objects_hold_no_keys(uri: str):
    """Their drivers would take one for a part of the bucket's name, and say it in their errors."""
    with pytest.raises(ManifestError) as caught:
        read_to_spool(uri, 1)
    for said in (refused(uri), str(caught.value)):
        assert "holds a password or key" in said
        assert "s3cr3t" not in said


def test_a_key_of_an_object_may_look_like_a_password():
    assert why_refused("s3://bucket/me:you@host.png") is None
    assert why_refused("abfs://clips@acme.dfs.core.windows.net/a.png") is None
