"""The site is built without a warning, says everything once, and needs nothing from elsewhere."""

import re
from pathlib import Path

from sora_pipeline_tests.docs.blocks import ROOT

_LOADED = re.compile(
    r"""<(?:script|link|img|iframe|source|video)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]*\"""", re.I
)
_LOADED_BY_STYLE = re.compile(r"""(?:@import|url\()\s*["']?(?:https?:)?//""", re.I)


def test_every_page_is_in_the_site_and_in_its_contents(site: Path) -> None:
    index = (site / "index.html").read_text("utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        assert (site / name).is_file()
        assert name == "index.html" or f'href="{name}"' in index, name
    assert 'href="reference/settings.html"' in index


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = [path.read_text("utf-8") for path in site.rglob("*.html")]
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    assert len(pages) > 30
    assert [found for page in pages for found in _LOADED.findall(page)] == []
    assert [found for text in [*pages, *styles] for found in _LOADED_BY_STYLE.findall(text)] == []


def test_reference_comes_from_the_code(site: Path) -> None:
    settings = (site / "reference" / "settings.html").read_text("utf-8")
    assert "SORA_BUDGET_DAILY_USD" in settings
    python = (site / "reference" / "python.html").read_text("utf-8")
    for word in ("VideoPipeline", "cron_timezone", "AmbiguousSubmitError", "ProviderConformance"):
        assert word in python


def test_search_finds_words_of_the_reference(site: Path) -> None:
    assert "sora_budget_daily_usd" in (site / "searchindex.js").read_text("utf-8").lower()
