"""What galleries of several lengths cost, to publish and to look at: a table, made by looking.

``python -m sora_pipeline_tests.production.gallery.measure 100 10000 100000``
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
from playwright.sync_api import Browser, Page

from sora_pipeline_tests.browser import running_chromium
from sora_pipeline_tests.production.gallery.conftest import READY, until
from sora_pipeline_tests.production.gallery.example import add_media, publish_gallery, rows_of

WITH_MEDIA = 2_000  # rows that have pictures: more than is scrolled through here
HEADER = (
    "clips",
    "page, kB",
    "data, MB",
    "publish, CPU s",
    "again, unchanged",
    "files loaded",
    "until shown, s",
    "JS heap, MB",
    "page's process, MB",
    "search all, s",
    "heap then, MB",
)


def measured(browser: Browser, folder: Path, clips: int) -> Iterator[str]:
    """The cells of one row of the table."""
    add_media(folder, islice(rows_of(clips), WITH_MEDIA))
    page, first = _publish(folder, clips)
    _, again = _publish(folder, clips)
    files = list((folder / "gallery").glob("*.js"))
    yield f"{clips:,}"
    yield f"{page / 1e3:.0f}"
    yield f"{sum(path.stat().st_size for path in files) / 1e6:.1f}"
    yield f"{first:.2f}"
    yield f"{again:.2f}"
    before = renderers()
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        looked_at = context.new_page()
        loaded: list[str] = []
        looked_at.on("request", lambda request: loaded.append(request.url))
        looked_at.goto((folder / "gallery.html").as_uri())
        until(looked_at, READY)
        shown = looked_at.evaluate("performance.now()")
        looked_at.wait_for_timeout(500)
        yield str(len(loaded))
        yield f"{shown / 1e3:.1f}"
        yield f"{_heap(looked_at):.0f}"
        yield f"{max(used for each, used in renderers().items() if each not in before):.0f}"
        began = time.perf_counter()
        looked_at.fill("#words", "heron harbour")
        until(
            looked_at, "!/^Searching|^([0-9,]+) of \\1 /.test(document.getElementById('found').textContent)"
        )
        yield f"{time.perf_counter() - began:.1f}"
        yield f"{_heap(looked_at):.0f}"


def _publish(folder: Path, clips: int) -> tuple[int, float]:
    began = time.process_time()
    page = publish_gallery(folder, rows_of(clips))
    return len(page), time.process_time() - began


def _heap(page: Page) -> float:
    return float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6


def renderers() -> dict[int, float]:
    """Megabytes that the processes which draw pages have for themselves."""
    processes = psutil.Process().children(recursive=True)
    drawing = [each for each in processes if "--type=renderer" in " ".join(each.cmdline())]
    return {each.pid: each.memory_full_info().uss / 1e6 for each in drawing}


def main() -> None:
    """Print the table."""
    lengths = [int(argument) for argument in sys.argv[1:]] or [100, 10_000, 100_000]
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    with running_chromium() as browser, tempfile.TemporaryDirectory() as folder:
        for clips in lengths:
            print(f"| {' | '.join(measured(browser, Path(folder) / str(clips), clips))} |")


if __name__ == "__main__":
    main()
