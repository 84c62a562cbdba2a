"""What the media server shows over real HTTP, and what it does not."""

import os
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from sora_pipeline.ledger import Ledger, Plan
from sora_pipeline.media_server.links import MediaLinks
from sora_pipeline.media_server.serving import MediaServerError, listen, serving
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.object_stores.s3 import BUCKET, SECRET, ObjectStore
from sora_pipeline_tests.production.parts import SANDBOX

VIDEO, POSTER, IMAGE = "videos/a/a-1-0.mp4", ".posters/a/a-1-0.jpg", ".images/0.jpg"
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def output(tmp_path: Path, ledger: Ledger) -> Path:
    """An output with files of every kind, and a file beside it."""
    folder = tmp_path / "out" / "spring"
    for name in (VIDEO, POSTER, IMAGE, "metadata.parquet", ".sidecars/a/a-1-0.json", "videos/a/a.html"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(CONTENT)
    (tmp_path / "out" / "secret.mp4").write_bytes(b"secret")
    ledger.productions.request(Plan("spring", "", str(tmp_path / "spring.csv"), str(folder), SANDBOX))
    return folder


@pytest.fixture
def links(output: Path, ledger: Ledger) -> Iterator[MediaLinks]:
    listener = listen("127.0.0.1", 0, "the media server")
    made = MediaLinks(f"http://127.0.0.1:{listener.getsockname()[1]}", os.urandom(32))
    with serving(ledger, made, listener):
        yield made


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "media_type"), [(VIDEO, "video/mp4"), (POSTER, "image/jpeg"), (IMAGE, "image/jpeg")]
)
def test_files_come_with_their_type(
    links: MediaLinks, http: httpx.Client, path: str, media_type: str
) -> None:
    answer = http.get(links.to("spring", path))
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, media_type, CONTENT)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "private" in answer.headers["cache-control"]
    head = http.head(links.to("spring", path))
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))


def test_parts_come_by_range(links: MediaLinks, http: httpx.Client) -> None:
    link = links.to("spring", VIDEO)
    part = http.get(link, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, CONTENT[1000:2000])
    assert part.headers["content-range"] == f"bytes 1000-1999/{len(CONTENT)}"
    rest = http.get(link, headers={"Range": "bytes=102000-"})
    assert (rest.status_code, rest.content) == (206, CONTENT[102000:])
    assert http.get(link, headers={"Range": f"bytes={len(CONTENT)}-"}).status_code == 416


@pytest.mark.parametrize(
    "path",
    [
        "metadata.parquet",
        ".sidecars/a/a-1-0.json",
        "videos/a/a.html",
        "videos/a",
        "videos/a/",
        "videos/a/missing.mp4",
        "videos/../../secret.mp4",
        "../secret.mp4",
        "/etc/hostname.mp4",
        "videos\\a.mp4",
        "videos/a/\0.mp4",
        "videos/" + "a" * 300 + ".mp4",
        "",
    ],
)
def test_even_a_signed_link_opens_nothing_else(links: MediaLinks, http: httpx.Client, path: str) -> None:
    answer = http.get(links.to("spring", path))
    assert answer.status_code in (403, 404)
    assert b"secret" not in answer.content
    address = urlsplit(links.to("spring", path))
    raw = HTTPConnection(address.hostname or "", address.port, timeout=10)  # which makes no path shorter
    raw.request("GET", f"{address.path}?{address.query}")
    said = raw.getresponse()
    assert said.status in (403, 404)
    assert b"secret" not in said.read()
    raw.close()


def test_a_link_in_the_output_leads_out_of_nothing(
    links: MediaLinks, http: httpx.Client, output: Path
) -> None:
    (output / "videos" / "a" / "out.mp4").symlink_to(output.parent / "secret.mp4")
    (output / "videos" / "folder").symlink_to(output.parent)
    (output / "videos" / "loop.mp4").symlink_to(output / "videos" / "loop.mp4")
    os.mkfifo(output / "videos" / "a" / "pipe.mp4")
    (output / "videos" / "a" / "inside.mp4").symlink_to(output / VIDEO)
    for path in ("a/out.mp4", "folder/secret.mp4", "loop.mp4", "a/pipe.mp4"):
        assert http.get(links.to("spring", f"videos/{path}")).status_code == 404, path
    assert http.get(links.to("spring", "videos/a/inside.mp4")).content == CONTENT


@pytest.mark.parametrize(
    "change",
    [
        lambda link: link.partition("?")[0],
        lambda link: link[:-1] + ("A" if link[-1] != "A" else "B"),
        lambda link: link.replace("until=", "until=1"),
        lambda link: link.replace("until=", "until=x"),
        lambda link: link.replace("until=", "until=" + "9" * 5000),
        lambda link: link.replace("/spring/", "/autumn/"),
        lambda link: link.replace("a-1-0", "b-1-0"),
    ],
)
def test_a_link_that_was_changed_opens_nothing(links: MediaLinks, http: httpx.Client, change: object) -> None:
    assert callable(change)
    assert http.get(change(links.to("spring", VIDEO))).status_code == 403


def test_no_listing_and_no_other_page(links: MediaLinks, http: httpx.Client) -> None:
    for path in ("", "/", "/media", "/media/", "/media/spring", "/media/spring/", "/docs", "/favicon.ico"):
        assert http.get(f"{links.address}{path}").status_code in (403, 404), path
    assert http.post(links.to("spring", VIDEO)).status_code == 405


def test_productions_that_the_ledger_does_not_know_have_nothing(
    links: MediaLinks, http: httpx.Client
) -> None:
    assert http.get(links.to("autumn", VIDEO)).status_code == 404


def test_a_link_ends(links: MediaLinks, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr("sora_pipeline.media_server.links.time.time", lambda: now - 200 * 86_400)
    old = links.to("spring", VIDEO)
    monkeypatch.undo()
    answer = http.get(old)
    assert answer.status_code == 410
    assert "Materialize its clip" in answer.text


def test_a_port_that_is_taken_is_one_sentence() -> None:
    first = listen("127.0.0.1", 0, "the media server")
    with pytest.raises(
        MediaServerError, match=r"the media server cannot have 127\.0\.0\.1:\d+: Address already"
    ):
        listen("127.0.0.1", first.getsockname()[1], "the media server")
    first.close()
    with pytest.raises(MediaServerError, match=r"cannot have no-such-host\.invalid"):
        listen("no-such-host.invalid", 0, "the media server")


@pytest.mark.services
def test_objects_are_reached_by_an_address_that_lasts_minutes(
    links: MediaLinks, http: httpx.Client, ledger: Ledger, s3: ObjectStore, tmp_path: Path
) -> None:
    """What is in Dagster's event log is the server's own link, never the presigned one."""
    output = f"s3://{BUCKET}/our clips"
    OutputStore(output).create_bytes(VIDEO, CONTENT)
    ledger.productions.request(Plan("cloud", "", str(tmp_path / "c.csv"), output, SANDBOX))
    answer = http.get(links.to("cloud", VIDEO))
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    where = answer.headers["location"]
    assert "Expires=900" in where
    assert SECRET not in where
    video = http.get(where)
    assert (video.status_code, video.headers["content-type"], video.content) == (200, "video/mp4", CONTENT)


def test_storage_that_makes_no_addresses_is_said(
    links: MediaLinks, http: httpx.Client, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.productions.request(Plan("cloud", "", str(tmp_path / "c.csv"), "memory://acme/out", SANDBOX))
    answer = http.get(links.to("cloud", VIDEO))
    assert answer.status_code == 502
    assert f"memory://acme/out/{VIDEO}" in answer.text
