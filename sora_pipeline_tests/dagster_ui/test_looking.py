"""What the Dagster UI shows of a home that real runs made, seen in a browser."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sora_pipeline_tests.dagster_ui.conftest import Dev, Look, environment_of, run, screenshot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


def width_of(page: Page, alt: str) -> int:
    """Of a picture that is on the page without a click, in its own pixels."""
    picture = page.locator(f"img[alt='{alt}']")
    expect(picture).to_be_visible()
    return int(picture.evaluate("image => image.decode().then(() => image.naturalWidth)"))


def test_partition_of_a_clip_shows_the_clip(look: Look) -> None:
    page = look("/assets/videos?view=partitions&partition=spring%3Aboat")
    assert width_of(page, "poster") == 320
    assert width_of(page, "storyboard") == 5 * 128 + 4 * 2
    assert width_of(page, "input image") > 0
    for words in ("A paper boat crosses a puddle at dawn, seen from just above the water", "rainy days"):
        expect(page.get_by_text(words, exact=True)).to_be_visible()
    for label in ("column/campaign", "attempts", "spent_usd", "cost_usd", "queue_s", "render_s", "bytes"):
        expect(page.get_by_text(label, exact=True)).to_be_visible()
    screenshot(page, "ui-clip")


def test_link_plays_the_video(look: Look) -> None:
    page = look("/assets/videos?view=partitions&partition=spring%3Alake")
    link = page.locator("a[href*='/media/spring/videos/lake/']").last
    expect(link).to_be_visible()
    page.goto(str(link.get_attribute("href")))
    video = page.locator("video")
    expect(video).to_be_visible()
    played = """video => {
        video.muted = true;
        return video.play().then(() => [video.videoWidth, video.videoHeight, Math.round(video.duration)]);
    }"""
    assert video.evaluate(played) == [720, 1280, 4]


def test_clip_that_is_submitted_says_what_was_asked_for(look: Look) -> None:
    page = look("/assets/generations?view=partitions&partition=spring%3Alake")
    for words in ("A lake in the first frost", "winter", "prediction_id", "queue_s"):
        expect(page.get_by_text(words, exact=True)).to_be_visible()


@pytest.mark.parametrize(("asset", "clip"), [("videos", "owl"), ("generations", "fox")])
def test_red_partition_says_its_reason_where_one_looks_first(look: Look, asset: str, clip: str) -> None:
    """Dagster has no words of ours on the page itself where a clip has no materialization; its logs open at the end."""
    page = look(f"/assets/{asset}?view=partitions&partition=spring%3A{clip}")
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    if asset == "videos":
        screenshot(page, "partitions", height=620)
    page.get_by_role("button", name="View logs").click()
    failed = page.locator("[role=dialog], .bp5-dialog").get_by_text(f"spring:{clip}: content_policy").last
    expect(failed).to_be_visible()
    if asset == "videos":
        screenshot(page, "ui-failed")


def test_clip_that_failed_at_submit_is_missing_further_down(look: Look) -> None:
    page = look("/assets/videos?view=partitions&partition=spring%3Afox")
    for count in ("Failed (1)", "Missing (1)"):
        expect(page.get_by_text(count, exact=True)).to_be_visible()
    page = look("/assets/generations?view=partitions&partition=spring%3Aowl")
    expect(page.get_by_text("[sandbox:policy-late] An owl turns its head", exact=True)).to_be_visible()
    for count in ("Failed (1)", "Missing (0)"):
        expect(page.get_by_text(count, exact=True)).to_be_visible()


def test_lineage_counts_what_failed_where(look: Look) -> None:
    page = look("/assets")
    page.set_viewport_size({"width": 1900, "height": 420})
    page.get_by_role("link", name="Lineage").first.click()
    failed = page.get_by_text(re.compile(r"\(1 failed\)"))
    expect(failed).to_have_count(2)
    screenshot(page, "lineage", height=420)


def test_numbers_are_plotted(look: Look) -> None:
    page = look("/assets/videos?view=overview")
    page.get_by_text("Plots", exact=True).first.click()
    for label in ("cost_usd", "spent_usd", "queue_s", "render_s", "bytes"):
        expect(page.get_by_text(label, exact=True)).to_be_attached()


def test_output_manifest_is_described(look: Look) -> None:
    page = look("/assets/video_manifest?view=overview")
    for words in ("Owners", "Kinds", "Freshness policy", "Source code", "video_manifest.py"):
        expect(page.get_by_text(words).first).to_be_visible()
    for words in ("sora/provider: sandbox", "Deadline: At 06:30 AM UTC"):
        expect(page.get_by_text(words).first).to_be_visible()
    for words in ("seconds it rendered", "what is to be seen; column prompt of prompt_manifest"):
        expect(page.get_by_text(words).first).to_be_attached()


def test_lineage_of_columns_is_known(dev: Dev) -> None:
    """Only Dagster+ draws it; here is what it would draw."""
    query = """query { assetNodes(assetKeys: [{path: ["video_manifest"]}]) { assetMaterializations(limit: 1) { metadataEntries {
        label ... on TableColumnLineageMetadataEntry { lineage { columnName columnDeps { columnName assetKey { path } } } }
    } } } }"""
    (node,) = dev.graphql(query)["assetNodes"]
    entries = {each["label"]: each for each in node["assetMaterializations"][0]["metadataEntries"]}
    lineage = {
        each["columnName"]: each["columnDeps"][0] for each in entries["dagster/column_lineage"]["lineage"]
    }
    assert lineage["prompt"] == {"columnName": "prompt", "assetKey": {"path": ["prompt_manifest"]}}
    assert lineage["campaign"]["columnName"] == "campaign"
    assert lineage["take"]["columnName"] == "takes"
    assert "sha256" not in lineage


def test_checks_tell_of_every_production(look: Look) -> None:
    """Summer was published last and is well; spring has two clips that failed."""
    page = look("/assets/video_manifest?view=checks&checkDetail=all_delivered")
    expect(page.get_by_text("summer: 2 delivered")).to_be_visible()
    expect(page.get_by_text("Not well in spring, too")).to_be_visible()
    expect(page.get_by_text("2 delivered, 2 failed. ")).to_be_visible()
    screenshot(page, "ui-checks")


def test_checks_of_videos(look: Look) -> None:
    page = look("/assets/videos?view=checks&checkDetail=files_are_whole")
    expect(page.get_by_text("summer: 2 of 2 files there and whole").first).to_be_visible()
    screenshot(page, "checks")


def test_dev_says_where_the_ui_is_and_nothing_after_that(look: Look, dev: Dev) -> None:
    look("/assets").wait_for_timeout(12_000)  # sensors have looked twice
    said = [line.strip() for line in dev.lines if line.strip()]
    assert said[-1] == f"Dagster UI: {dev.url}", said
    assert len(said) == 2, said


def test_second_dev_on_a_home_or_a_port_is_one_sentence(dev: Dev, tmp_path: Path) -> None:
    again = run(dev.environment, "dev", "--port", "3999")
    assert (again.returncode, again.stdout) == (2, "")
    assert "a Dagster daemon is at work on" in again.stderr
    other = environment_of(tmp_path) | {"SORA_MEDIA_URL": dev.environment["SORA_MEDIA_URL"]}
    taken = run(other, "dev", "--port", "3999")
    assert taken.returncode == 2
    assert "error: the media server (--media-port) cannot have 127.0.0.1:" in taken.stderr
    assert "Traceback" not in taken.stderr
