"""A gallery with real pictures and videos, and a browser that looks at it."""

import mimetypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.core import url_to_fs
from moto.server import ThreadedMotoServer
from playwright.sync_api import Browser, Page, expect

from sora_pipeline_tests.browser import running_chromium, served
from sora_pipeline_tests.production.gallery.example import add_media, publish_gallery, rows_of

READY = (
    "document.getElementById('clips').ariaBusy === 'false' && document.querySelector('#clips h3 span[title]')"
)

Open = Callable[..., Page]

expect.set_options(timeout=20_000)  # for machines that are busy with other tests


def until(page: Page, condition: str) -> None:
    """Wait for a JavaScript expression; Playwright's own waiting needs ``eval``, which the page forbids."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"not within twenty seconds: {condition}")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 clips of every kind and both formats; only to be looked at."""
    folder = tmp_path_factory.mktemp("gallery")
    add_media(folder, rows_of(300))
    publish_gallery(folder, rows_of(300))
    return folder


@pytest.fixture(scope="session")
def gallery_url(gallery: Path) -> Iterator[str]:
    with served(gallery) as url:
        yield f"{url}/gallery.html"


@dataclass
class S3:
    """A bucket that the world may read, and a folder in it.

    Attributes:
        uri: As the pipeline writes there.
        url: As a browser reads there.
    """

    uri: str
    url: str

    def put(self, folder: Path) -> None:
        """Copy all files of a folder, hidden ones included."""
        filesystem, root = url_to_fs(self.uri)
        for path in folder.rglob("*"):
            if path.is_file():
                media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                target = f"{root}/{path.relative_to(folder).as_posix()}"
                filesystem.put_file(str(path), target, ContentType=media_type)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """An S3 on this machine, and the driver's configuration for it."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    options = {
        "endpoint_url": address,
        "key": "test",
        "secret": "test",
        "s3_additional_kwargs": {"ACL": "public-read"},
    }
    monkeypatch.setitem(fsspec.config.conf, "s3", options)
    try:
        fsspec.filesystem("s3").mkdir("films")
        yield S3("s3://films/our brand/spring", f"{address}/films/our%20brand/spring")
    finally:
        server.stop()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Open]:
    """Opens a page by its folder or address in a browser of its own, and fails when the page has errors.

    Pages have ``requested``, the addresses of everything that they asked for.
    """
    errors: list[str] = []
    contexts = []

    def look(where: Path | str, *, ready: str = READY, expected_errors: str = "(?!)", **options: Any) -> Page:
        def note(said: str) -> None:
            if not re.search(expected_errors, said):
                errors.append(said)

        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.requested = []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: note(str(error)))
        page.on("console", lambda said: note(said.text) if said.type == "error" else None)
        page.on("dialog", lambda dialog: note(f"dialog: {dialog.message}"))
        page.goto(where if isinstance(where, str) else (where / "gallery.html").as_uri())
        if ready:
            until(page, ready)
        return page

    yield look
    for context in contexts:
        context.close()
    assert errors == []
