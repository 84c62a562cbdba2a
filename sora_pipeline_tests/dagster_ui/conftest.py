"""A home that real runs made, the real Dagster UI on it, and a browser that looks at it.

With ``SCREENSHOTS=docs/images`` in the environment, the pictures of the UI in the docs are made anew.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from sora_pipeline_tests.browser import running_chromium
from sora_pipeline_tests.conftest import write_manifest

IMAGES = Path(__file__).parents[2] / "data" / "images"
SPRING: list[dict[str, Any]] = [
    {
        "clip_id": "boat",
        "prompt": "A paper boat crosses a puddle at dawn, seen from just above the water",
        "image": str(IMAGES / "boat.png"),
        "size": "1280x720",
        "campaign": "rainy days",
    },
    {"clip_id": "owl", "prompt": "[sandbox:policy-late] An owl turns its head", "campaign": "night"},
    {"clip_id": "fox", "prompt": "[sandbox:policy] A fox looks up", "campaign": "night"},
    {"clip_id": "lake", "prompt": "A lake in the first frost", "size": "720x1280", "campaign": "winter"},
]
SUMMER: list[dict[str, Any]] = [
    {"clip_id": "boat", "prompt": "A sailing boat at noon", "campaign": "sun"},
    {"clip_id": "kite", "prompt": "A kite above the dunes", "campaign": "sun"},
]
TIMEOUT_MS = 60_000

expect.set_options(timeout=TIMEOUT_MS)  # for machines that are busy with other tests


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Dev:
    """A running ``sora-pipeline dev``.

    Attributes:
        url: Of the UI.
        environment: That commands beside it have, too.
        process: The command.
        lines: What it has written, from both of its streams.
    """

    url: str
    environment: dict[str, str]
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def graphql(self, query: str, **variables: Any) -> Any:
        answer = httpx.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, trust_env=False, timeout=60
        )
        return answer.raise_for_status().json()["data"]


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command of ours, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def environment_of(folder: Path) -> dict[str, str]:
    """Of somebody who has just installed the pipeline, and whose sandbox renders quickly."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SORA_", "DAGSTER_", "GPTPROTO_")) and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "DAGSTER_HOME": str(folder / "home"),
        "SORA_OUTPUT": str(folder / "out"),
        "SORA_MEDIA_URL": f"http://127.0.0.1:{free_port()}",
        "SORA_POLL_INTERVAL_S": "1",
        "SORA_ASSET_OWNERS": "team:video",
        "SORA_CRON": "0 6 * * *",
        "SORA_SANDBOX_RENDER_S": "0.4",
    }


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Two productions, made by ``sora-pipeline run``, and then ``sora-pipeline dev`` on the same home."""
    folder = tmp_path_factory.mktemp("ui")
    environment = environment_of(folder)
    for name, rows in (("spring", SPRING), ("summer", SUMMER)):
        made = run(environment, "run", str(write_manifest(folder / f"{name}.csv", rows)))
        assert made.returncode in (0, 1), made.stdout + made.stderr
    with running_dev(environment, folder) as started:
        yield started


@contextmanager
def running_dev(environment: dict[str, str], folder: Path, *arguments: str) -> Iterator[Dev]:
    """``sora-pipeline dev`` for as long as the body runs; ended by Ctrl-C."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline", "dev", "--port", str(port), *arguments],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    dev = Dev(f"http://127.0.0.1:{port}", environment, process)
    listening = threading.Thread(target=_listen, args=(dev,), daemon=True)
    listening.start()
    try:
        deadline = time.monotonic() + 180
        while not any(dev.url in line for line in dev.lines):
            assert process.poll() is None, "".join(dev.lines)
            assert time.monotonic() < deadline, "".join(dev.lines)
            time.sleep(0.2)
        yield dev
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            try:
                process.wait(60)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        listening.join(5)
        assert process.returncode == 0, "".join(dev.lines)


def _listen(dev: Dev) -> None:
    assert dev.process.stdout is not None
    dev.lines.extend(iter(dev.process.stdout.readline, ""))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


Look = Callable[[str], Page]


@pytest.fixture
def look(chromium: Browser, dev: Dev) -> Iterator[Look]:
    """Opens a page of the UI by its path, as somebody who looks at it for the first time."""
    contexts = []

    def opened(path: str) -> Page:
        context = chromium.new_context(viewport={"width": 1440, "height": 1000})
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{dev.url}{path}")
        return page

    yield opened
    for context in contexts:
        context.close()


_REPLACE_IN_TEXTS = """([here, shown]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(here, shown);
}"""


def screenshot(page: Page, name: str, *, height: int = 1000) -> None:
    """Keep a picture for the docs, where that is asked for, of the page's top: few colours, so that it stays small."""
    folder = os.environ.get("SCREENSHOTS")
    if not folder:
        return
    from PIL import Image

    page.mouse.move(0, 0)
    page.wait_for_timeout(500)
    page.evaluate(
        _REPLACE_IN_TEXTS, [sys.prefix, "/srv/sora/.venv"]
    )  # where it lies here is of no interest to readers
    path = Path(folder) / f"{name}.png"
    page.screenshot(path=str(path))
    with Image.open(path) as picture:
        top = picture.crop((0, 0, picture.width, height))
        top.convert("RGB").quantize(256).save(path, optimize=True)
