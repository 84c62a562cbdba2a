"""The site as Chromium shows it: wide and narrow, light and dark, from disk, and to a screen reader."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from sora_pipeline_tests.browser import running_chromium

pytestmark = pytest.mark.browser
PAGES = (
    "index",
    "tutorial/first-clips",
    "reference/settings",
    "reference/errors",
    "reference/python",
    "component",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_chromium() as chromium:
        yield chromium


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_are_accessible_and_load_nothing_from_elsewhere(
    browser: Browser, site: Path, scheme: str, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    wrong = []
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        wrong += [f"{name} is {wide} px too wide"] if wide else []
        wrong += [
            f"{name}: {each['id']}: {each['nodes'][0]['html']}"
            for each in Axe().run(page).response["violations"]
        ]
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_search_finds_a_setting(browser: Browser, site: Path) -> None:
    page = browser.new_page()
    page.goto(f"{(site / 'search.html').as_uri()}?q=SORA_BUDGET_DAILY_USD")
    page.get_by_role("link", name="Settings").last.wait_for()
    page.close()
