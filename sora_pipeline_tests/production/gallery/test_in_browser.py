"""The page as people use it, in a real browser, from disk and from a web server."""

import csv
import io
import re
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri
from sora_pipeline_tests.production.gallery.conftest import READY, S3, Open, until
from sora_pipeline_tests.production.gallery.example import (
    NOON,
    TALL,
    WIDE,
    add_media,
    clip_row,
    invalid_row,
    publish_gallery,
    rows_of,
)
from sora_pipeline_tests.production.gallery.measure import renderers

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
FOUND = "#found"


@pytest.fixture(params=["disk", "server"])
def at(request: pytest.FixtureRequest, gallery: Path, gallery_url: str) -> Path | str:
    return gallery if request.param == "disk" else gallery_url


def ids(page: Page) -> list[str]:
    return page.locator("#clips h3 span[title]").all_inner_texts()


def found(page: Page, sentence: str) -> None:
    expect(page.locator(FOUND)).to_have_text(sentence)


def large_id(page: Page, clip_id: str) -> None:
    expect(page.locator("#large-id")).to_have_text(clip_id)


# ---- what is loaded


def test_page_shows_its_clips_and_loads_nothing_from_outside(open_page: Open, at: Path | str) -> None:
    page = open_page(at)
    assert ids(page)[:3] == ["clip-00000", "clip-00001", "clip-00002"]
    found(page, "300 of 300 clips")
    base = page.url.rsplit("/", 1)[0]
    assert [url for url in page.requested if not url.startswith(base)] == []
    loaded = page.evaluate(
        "Promise.all([...document.querySelectorAll('#clips img')].map((image) => image.decode().then(() => image.naturalWidth)))"
    )
    assert set(loaded) == {320}


def test_only_what_is_on_the_screen_is_loaded(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.wait_for_timeout(300)
    assert sum(url.endswith(".jpg") for url in page.requested) <= 20
    assert sum(url.endswith(".mp4") for url in page.requested) == 0
    assert sum("/gallery/" in url for url in page.requested) == 2


def test_ten_thousand_clips_are_there_within_two_seconds_and_200_mb(open_page: Open, tmp_path: Path) -> None:
    rows = [clip_row(number, **({} if number < 100 else {"poster_path": None})) for number in range(10_000)]
    add_media(tmp_path, rows[:100])
    publish_gallery(tmp_path, rows)
    before = renderers()
    page = open_page(tmp_path)
    assert page.evaluate("performance.now()") < 2000
    assert page.evaluate("performance.memory.usedJSHeapSize") < 50e6
    assert sum("/gallery/" in url for url in page.requested) == 2
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator("#clips h3 span[title]").last).to_have_text("clip-09999")
    assert page.locator("#clips > li").count() < 60
    page.fill("#words", "heron harbour")
    found(page, "357 of 10,000 clips")
    assert page.evaluate("performance.memory.usedJSHeapSize") < 100e6
    assert max(used for process, used in renderers().items() if process not in before) < 200


def test_cards_that_are_scrolled_away_leave_the_page(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    before = page.locator("#clips > li").count()
    for _ in range(10):
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(30)
    until(
        page,
        "![...document.querySelectorAll('#clips h3 span[title]')].some((id) => id.textContent === 'clip-00000')",
    )
    assert page.locator("#clips > li").count() <= before + 8
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator("#clips h3 span[title]").last).to_have_text("clip-00299")
    page.evaluate("scrollTo(0, 0)")
    expect(page.locator("#clips h3 span[title]").first).to_have_text("clip-00000")


def test_lists_that_browsers_could_not_draw_are_shown_in_parts(open_page: Open, tmp_path: Path) -> None:
    publish_gallery(tmp_path, (clip_row(number, poster_path=None) for number in range(20_500)))
    page = open_page(tmp_path)
    parts = page.locator(".sections").first
    expect(parts).to_contain_text("1 to 10,000")
    parts.get_by_role("button", name="Later").click()
    expect(page.locator("#clips h3 span[title]").first).to_have_text("clip-10000")
    parts.get_by_role("button", name="Later").click()
    expect(parts).to_contain_text("20,001 to 20,500")
    expect(parts.get_by_role("button", name="Later")).to_be_disabled()
    page.select_option("#order", "id")
    expect(parts).to_contain_text("1 to 10,000")


def test_page_on_an_object_store_is_the_same(s3: S3, open_page: Open, tmp_path: Path) -> None:
    """Written by the driver that outputs on S3 are written with, and looked at under the store's own addresses."""
    rows = list(rows_of(60))
    add_media(tmp_path, rows)
    publish_gallery(s3.uri, rows)
    s3.put(tmp_path)
    page = open_page(f"{s3.url}/gallery.html")
    found(page, "60 of 60 clips")
    assert [url for url in page.requested if not url.startswith(s3.url)] == []
    page.locator(".media").nth(1).hover()
    until(page, "document.querySelector('#clips video')?.currentTime > 0.1")
    page.locator(".media").first.click()
    expect(page.locator("#first-frame")).to_be_visible()
    until(page, "document.getElementById('video').currentTime > 0.1")
    page.keyboard.press("b")
    page.keyboard.press("Escape")
    page.fill("#words", "heron")
    found(page, "8 of 60 clips")
    assert [row["clip_id"] for row in picks_of(page)] == ["clip-00000"]


# ---- how it looks


@pytest.mark.parametrize("width", [390, 700, 1280, 2000])
def test_grid_has_no_holes_where_formats_differ(open_page: Open, gallery: Path, width: int) -> None:
    page = open_page(gallery, viewport={"width": width, "height": 900})
    boxes = [
        tuple(box)
        for box in page.evaluate(
            "[...document.querySelectorAll('#clips > li')].map((card) => { const box = card.getBoundingClientRect();"
            " return [Math.round(box.left), Math.round(box.top), Math.round(box.width), Math.round(box.height)]; })"
        )
    ]
    assert len({(box_width, height) for _, _, box_width, height in boxes}) == 1
    columns = len({left for left, *_ in boxes})
    tops = [top for _, top, *_ in boxes]
    assert tops == sorted(tops)
    assert all(tops.count(top) == columns for top in set(tops[:-columns]))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_cards_have_the_form_that_most_clips_have(open_page: Open, tmp_path: Path) -> None:
    for form, sizes in {"wide": [WIDE], "tall": [TALL], "even": [WIDE, TALL]}.items():
        publish_gallery(
            tmp_path / form, (clip_row(n, size=sizes[n % len(sizes)], poster_path=None) for n in range(8))
        )
        page = open_page(tmp_path / form)
        box = page.locator(".media").first.bounding_box()
        assert box
        assert box["width"] / box["height"] == pytest.approx(
            {"wide": 16 / 9, "tall": 9 / 16, "even": 1}[form], rel=0.02
        )


def test_page_is_light_or_dark_as_its_reader_wishes(open_page: Open, gallery: Path) -> None:
    grounds = {
        scheme: open_page(gallery, color_scheme=scheme).evaluate(
            "getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    }
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 19, 22)"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing(open_page: Open, gallery: Path, scheme: str, device: dict[str, object]) -> None:
    page = open_page(gallery, color_scheme=scheme, **device)

    def check() -> None:
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()

    check()
    page.locator(".media").first.click()
    page.keyboard.press("g")
    expect(page.locator("#first-frame")).to_be_visible()
    check()
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    large_id(page, "clip-00007")  # one that failed
    expect(page.locator("#facts dt").first).to_be_visible()
    check()
    page.keyboard.press("Escape")
    page.locator("#statuses .failed").click()
    found(page, "6 of 300 clips")
    check()
    page.fill("#words", "no clip has these words")
    found(page, "0 of 300 clips")
    check()


# ---- searching, filtering, sorting


def test_counts_filter(open_page: Open, at: Path | str) -> None:
    page = open_page(at)
    failed = page.locator("#statuses").get_by_role("button", name="6 failed")
    failed.click()
    found(page, "6 of 300 clips")
    assert ids(page) == [f"clip-{number:05}" for number in range(7, 300, 50)]
    assert failed.get_attribute("aria-pressed") == "true"
    page.locator("#statuses").get_by_role("button", name="6 invalid").click()
    found(page, "12 of 300 clips")
    failed.click()
    found(page, "6 of 300 clips")
    assert all(name.startswith("row-") for name in ids(page))


def test_search_looks_at_ids_prompts_reasons_and_carried_columns(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    for words, count in [
        ("clip-00042", 1),
        ("HERON kitchen", 11),
        ("names a person", 6),
        ("spring sale", 98),
        ("xyzzy", 0),
    ]:
        page.fill("#words", words)
        found(page, f"{count} of 300 clips")
    page.fill("#words", "")
    found(page, "300 of 300 clips")


def test_search_finds_what_is_too_long_for_the_list(open_page: Open, tmp_path: Path) -> None:
    long = [
        clip_row(n, poster_path=None, prompt=f"fox {'and fox ' * 200} number {n} ends")
        for n in range(0, 900, 90)
    ]
    publish_gallery(tmp_path, [*long, *(clip_row(n, poster_path=None) for n in range(1000, 1600))])
    page = open_page(tmp_path, expected_errors="ERR_FILE_NOT_FOUND")  # of its input image
    page.fill("#words", "number 450 ends")
    found(page, "1 of 610 clips")
    assert ids(page) == ["clip-00450"]
    page.locator(".media").first.click()
    expect(page.locator("#prompt")).to_contain_text("number 450 ends")


def test_carried_columns_filter(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.get_by_label("campaign").select_option(label="winter (104)")
    found(page, "104 of 300 clips")
    page.locator("#statuses .invalid").click()
    found(page, "6 of 300 clips")
    page.get_by_label("campaign").select_option(label="all")
    assert page.get_by_label("shot").count() == 0  # too many different values to choose from


def test_clips_are_sorted_and_stand_as_in_the_manifest_at_first(open_page: Open, tmp_path: Path) -> None:
    rows = [
        clip_row(0, clip_id="b", cost_usd=4.0, attempts=1, stored_at=NOON),
        clip_row(1, ClipStatus.PENDING, clip_id="clip-10"),
        clip_row(2, clip_id="clip-9", cost_usd=12.0, attempts=3, stored_at=NOON + timedelta(hours=1)),
        clip_row(3, ClipStatus.FAILED, clip_id="a", cost_usd=8.0, attempts=2),
    ]
    publish_gallery(tmp_path, rows)
    add_media(tmp_path, rows)
    page = open_page(tmp_path)
    assert ids(page) == ["b", "clip-10", "clip-9", "a"]
    for order, expected in {
        "id": ["a", "b", "clip-9", "clip-10"],
        "cost": ["clip-9", "a", "b", "clip-10"],
        "attempts": ["clip-9", "a", "b", "clip-10"],
        "newest": ["clip-9", "b", "clip-10", "a"],
        "troubles": ["a", "clip-10", "b", "clip-9"],
        "manifest": ["b", "clip-10", "clip-9", "a"],
    }.items():
        page.select_option("#order", order)
        expect(page.locator("#clips h3 span[title]")).to_have_text(expected)


# ---- looking at clips


def test_video_plays_while_the_mouse_rests_on_its_poster(open_page: Open, at: Path | str) -> None:
    page = open_page(at)
    page.locator(".media").nth(1).hover()
    until(page, "document.querySelector('#clips video')?.currentTime > 0.1")
    assert page.evaluate("document.querySelector('#clips video').muted")
    page.locator("h1").hover()
    expect(page.locator("#clips video")).to_have_count(0)


def test_nothing_moves_for_who_wants_no_motion(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery, reduced_motion="reduce")
    page.locator(".media").nth(1).hover()
    page.wait_for_timeout(500)
    expect(page.locator("#clips video")).to_have_count(0)
    page.locator(".media").nth(1).click()
    page.wait_for_timeout(300)
    assert page.evaluate("document.getElementById('video').paused")


def test_large_view_is_walked_through_with_keys(open_page: Open, at: Path | str) -> None:
    page = open_page(at)
    page.locator(".media").nth(5).focus()
    page.keyboard.press("Enter")
    large_id(page, "clip-00005")
    expect(page.locator("#large")).to_be_visible()
    page.keyboard.press("ArrowRight")
    large_id(page, "clip-00006")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    large_id(page, "clip-00004")
    until(page, "document.getElementById('video').currentTime > 0.1")
    page.keyboard.press(" ")
    assert page.evaluate("document.getElementById('video').paused")
    page.keyboard.press(" ")
    assert not page.evaluate("document.getElementById('video').paused")
    page.locator("#video").focus()
    page.keyboard.press("ArrowRight")  # not the video's own seeking
    large_id(page, "clip-00005")
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    assert (
        page.evaluate("document.activeElement.closest('li').querySelector('h3 span').textContent")
        == "clip-00005"
    )


def test_focus_comes_back_to_a_card_far_from_where_it_left(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.locator(".media").first.click()
    for _ in range(80):
        page.keyboard.press("ArrowRight")
    large_id(page, "clip-00080")
    page.keyboard.press("Escape")
    focused = page.locator("#clips li:focus-within h3 span[title]")
    expect(focused).to_have_text("clip-00080")
    expect(focused).to_be_in_viewport()


def test_arrow_keys_go_from_card_to_card(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    columns = page.evaluate(
        "getComputedStyle(document.getElementById('clips')).gridTemplateColumns.split(' ').length"
    )
    page.locator(".media").first.focus()
    focused = page.locator("#clips li:focus-within h3 span[title]")
    for _ in range(20):
        page.keyboard.press("ArrowDown")
    expect(focused).to_have_text(f"clip-{20 * columns:05}")
    expect(focused).to_be_in_viewport()
    page.keyboard.press("ArrowLeft")
    expect(focused).to_have_text(f"clip-{20 * columns - 1:05}")


def test_large_view_shows_what_is_known_of_a_clip(open_page: Open, at: Path | str) -> None:
    page = open_page(at)
    page.locator(".media").first.click()
    expect(page.locator("#first-frame")).to_be_visible()
    expect(page.locator("#prompt")).to_have_text(re.compile("shot 0\\.$"))
    facts = page.locator("#facts").inner_text()
    for fact in (
        "$8.00 (simulated)",
        "8 s, 720x1280, sora-2-pro",
        "pred-00000",
        "2026-11-20 12:02:03 UTC",
        "118.5 s",
        "campaign",
        "autumn",
    ):
        assert fact in facts
    assert "sandbox, sandbox" not in facts
    page.keyboard.press("Escape")
    page.locator(".media").nth(7).click()
    expect(page.locator("#standing")).to_have_text(
        "failed content_policy: The provider refused the prompt: it names a person."
    )
    expect(page.locator("#no-video")).to_be_visible()
    expect(page.locator("#video")).to_be_hidden()


def test_clip_that_the_address_names_is_opened(open_page: Open, gallery_url: str, gallery: Path) -> None:
    for base in (gallery_url, (gallery / "gallery.html").as_uri()):
        page = open_page(f"{base}#clip-00123")
        large_id(page, "clip-00123")
        page.keyboard.press("Escape")
        expect(page).to_have_url(base)
        page.locator("#clips li:focus-within .media").click()
        large_id(page, "clip-00123")
        assert page.url.endswith("#clip-00123")


def test_id_is_copied(open_page: Open, gallery_url: str) -> None:
    page = open_page(gallery_url, permissions=["clipboard-read", "clipboard-write"])
    page.locator(".media").nth(3).click()
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "clip-00003"


def test_id_is_copied_where_the_clipboard_is_closed_to_pages(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator(".media").nth(3).click()
    page.locator("#copy").click()
    expect(page.locator("#copy")).to_have_text("Copied")
    page.locator("#note").focus()
    page.keyboard.press("Control+v")
    expect(page.locator("#note")).to_have_value("clip-00003")


# ---- picks


def picks_of(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.locator("#download").dispatch_event("click")
    assert download.value.suggested_filename == "picks.csv"
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text("utf-8-sig"))))


def test_picks_are_kept_and_downloaded(open_page: Open, at: Path | str) -> None:
    page = open_page(at)
    expect(page.locator("#download")).to_be_disabled()
    page.locator(".media").nth(2).click()
    page.keyboard.press("b")
    page.fill("#note", 'six fingers, "again"\u00e9')
    page.keyboard.press("Escape")
    page.locator(".media").nth(1).click()
    page.keyboard.press("g")
    page.keyboard.press("Escape")
    expect(page.locator("#clips .mark")).to_have_text(["good", "bad"])
    page.reload()
    until(page, READY)
    expect(page.locator("#clips .mark")).to_have_text(["good", "bad"])
    expect(page.locator("#download")).to_have_text("Download picks.csv (2)")
    rows = picks_of(page)
    assert [list(row.values())[:4] for row in rows] == [
        ["spring", "clip-00001", "good", ""],
        ["spring", "clip-00002", "bad", 'six fingers, "again"\u00e9'],
    ]
    assert all(row["file_name"].startswith(f"videos/{row['clip_id']}/") for row in rows)


def test_picks_filter_and_are_taken_back(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.locator(".media").nth(2).click()
    page.keyboard.press("b")
    expect(page.locator("#bad")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    page.select_option("#picked", "bad")
    found(page, "1 of 300 clips")
    page.select_option("#picked", "none")
    found(page, "269 of 300 clips")
    page.select_option("#picked", "")
    page.locator(".media").nth(2).click()
    page.keyboard.press("b")
    expect(page.locator("#bad")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Escape")
    expect(page.locator("#download")).to_be_disabled()


def test_pick_is_of_one_video_and_not_of_the_next(open_page: Open, tmp_path: Path) -> None:
    rows = [clip_row(1), clip_row(2)]
    add_media(tmp_path, rows)
    publish_gallery(tmp_path, rows)
    page = open_page(tmp_path)
    for place in range(2):
        page.locator(".media").nth(place).click()
        page.keyboard.press("b")
        page.keyboard.press("Escape")
    again = clip_row(1, file_name="videos/clip-00001/clip-00001-2-0123abcd.mp4", poster_path=None)
    publish_gallery(tmp_path, [again, clip_row(2)])
    page.reload()
    until(page, READY)
    expect(page.locator("#clips .mark")).to_have_count(1)
    assert [row["clip_id"] for row in picks_of(page)] == ["clip-00002"]


def test_two_tabs_lose_no_picks_of_each_other(open_page: Open, gallery_url: str) -> None:
    one = open_page(gallery_url)
    two = one.context.new_page()
    two.goto(gallery_url)
    until(two, READY)
    for place, page in enumerate((one, two, one)):
        page.locator(".media").nth(place).click()
        page.keyboard.press("g")
        page.keyboard.press("Escape")
    for page in (one, two):
        expect(page.locator("#clips .mark")).to_have_text(["good"] * 3)
    assert len(picks_of(two)) == 3


def test_browser_that_keeps_nothing_is_told_of_and_still_saves_picks(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.evaluate(
        "void (Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); })"
    )
    for place in range(2):
        page.locator(".media").nth(place).click()
        page.keyboard.press("g")
        page.keyboard.press("Escape")
    expect(page.locator("#notice")).to_contain_text("download picks.csv")
    assert [row["clip_id"] for row in picks_of(page)] == ["clip-00000", "clip-00001"]


def test_note_that_a_spreadsheet_would_run_is_made_harmless(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.locator(".media").nth(2).click()
    page.fill("#note", "=HYPERLINK(1)")
    page.keyboard.press("Escape")
    assert [row["note"] for row in picks_of(page)] == ["'=HYPERLINK(1)"]


def test_letters_in_a_note_are_no_commands(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery)
    page.locator(".media").nth(2).click()
    page.locator("#note").focus()
    page.keyboard.type("big gap ")
    expect(page.locator("#note")).to_have_value("big gap ")
    expect(page.locator("#bad")).to_have_attribute("aria-pressed", "false")
    large_id(page, "clip-00002")


# ---- what may go wrong


ATTACKS = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "\"><svg onload='window.hacked = 1'>",
    "javascript:window.hacked = 1",
    "'); window.hacked = 1; ('",
    "\u2028window.hacked = 1\u2029",
    "__proto__",
    "{{ 7 * 7 }}${window.hacked = 1}",
]


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_no_cell_is_ever_code(open_page: Open, tmp_path: Path, attack: str) -> None:
    everywhere = {
        "prompt": attack,
        "model": attack,
        "image": Uri(attack),
        "carried": {attack: attack, "campaign": attack, "shot": {attack: attack}},
        "account": attack,
        "provider": attack,
        "prediction_id": attack,
        "provider_status": attack,
        "run_id": attack,
        "model_returned": attack,
    }
    failed = {"error_kind": attack, "error_message": attack}
    rows = [
        clip_row(1, **everywhere, file_name=f"videos/{attack}.mp4", poster_path=attack),
        clip_row(2, ClipStatus.FAILED, **everywhere, **failed),
        invalid_row(3, prompt=attack, size=attack, duration=attack, model=attack, campaign=attack),
    ]
    publish_gallery(
        tmp_path, rows, columns=(attack, "campaign", "shot"), manifest_uri=Uri(attack), production_id=attack
    )
    page = open_page(tmp_path, expected_errors=r"ERR_FILE_NOT_FOUND|ERR_INVALID_URL|supported source")
    for place in range(3):
        page.locator(".media").nth(place).click()
        expect(page.locator("#large")).to_be_visible()
        page.wait_for_timeout(100)
        page.keyboard.press("Escape")
    page.fill("#words", attack)
    page.locator(".media").first.hover()
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("({}).hacked") is None
    base = page.url.rsplit("/", 1)[0]
    assert [url for url in page.requested if not url.startswith(base)] == []


def test_policy_of_the_page_forbids_what_is_not_its_own(open_page: Open, gallery_url: str) -> None:
    page = open_page(gallery_url, expected_errors="Content Security Policy|violates")
    refused: list[tuple[str, str | None]] = []
    page.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.hacked = 1\">')"
    )
    for properties in ({"textContent": "window.hacked = 1"}, {"src": "http://127.0.0.1:9/x.js"}):
        page.evaluate(
            "(properties) => document.head.append(Object.assign(document.createElement('script'), properties))",
            properties,
        )
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert refused == [("http://127.0.0.1:9/x.js", "csp")]


def test_page_that_was_open_while_it_was_published_anew_goes_on(open_page: Open, tmp_path: Path) -> None:
    publish_gallery(tmp_path, (clip_row(number, poster_path=None) for number in range(3000)))
    page = open_page(tmp_path)
    publish_gallery(
        tmp_path,
        (clip_row(number, ClipStatus.FAILED) for number in range(3000)),
        now=NOON + timedelta(hours=9),
    )
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(page.locator("#clips h3 span[title]").last).to_have_text("clip-02999")
    expect(page.locator("#notice")).to_be_hidden()
    page.reload()
    until(page, READY)
    expect(page.locator("#statuses")).to_have_text("3,000 failed")


def test_missing_data_are_said_in_words(open_page: Open, tmp_path: Path) -> None:
    publish_gallery(tmp_path, (clip_row(number, poster_path=None) for number in range(3000)))
    page = open_page(tmp_path, expected_errors="ERR_FILE_NOT_FOUND")
    for path in (tmp_path / "gallery").glob("list-*"):
        path.unlink()
    page.fill("#words", "heron")
    expect(page.locator("#notice")).to_contain_text("Reload the page.")


def test_empty_production_is_a_page_that_says_so(open_page: Open, tmp_path: Path) -> None:
    publish_gallery(tmp_path, [])
    page = open_page(tmp_path, ready="document.getElementById('clips').ariaBusy === 'false'")
    found(page, "0 of 0 clips")


def test_who_has_no_javascript_is_told_where_the_rows_are(open_page: Open, gallery: Path) -> None:
    page = open_page(gallery, ready="", java_script_enabled=False)
    expect(page.get_by_text("manifest.csv beside it")).to_be_visible()
