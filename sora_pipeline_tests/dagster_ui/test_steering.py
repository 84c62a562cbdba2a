"""Productions steered from the Launchpad, in a browser: nothing is typed but what is to change."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from sora_pipeline_tests.dagster_ui.conftest import Dev, Look, screenshot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

RUNS = """query($job: String!) { runsOrError(filter: {pipelineName: $job}, limit: 1) { ... on Runs { results { runId status } } } }"""
MADE = """query($clip: String!) {
    assetNodes(assetKeys: [{path: ["videos"]}]) { assetMaterializations(partitions: [$clip], limit: 1) { runId } }
}"""
Launch = Callable[..., tuple[str, str]]


@pytest.fixture
def launch(look: Look, dev: Dev) -> Launch:
    """Opens a job's Launchpad, changes what is filled in there, and launches; the run's id and how it ended."""

    def newest(job: str) -> dict[str, str]:
        found: list[dict[str, str]] = dev.graphql(RUNS, job=job)["runsOrError"]["results"]
        return found[0] if found else {"runId": "", "status": ""}

    def launched(job: str, picture: str = "", **changes: str) -> tuple[str, str]:
        page = look(f"/locations/sora_pipeline.definitions/jobs/{job}/playground")
        editor = page.locator(".CodeMirror").first
        expect(editor).to_contain_text("production")
        filled: str = editor.evaluate("editor => editor.CodeMirror.getValue()")
        for name, value in changes.items():
            (line,) = (each for each in filled.splitlines() if each.strip().startswith(f"{name}:"))
            filled = filled.replace(line, f"{line.partition(':')[0]}: {value}")
        editor.evaluate("(editor, text) => editor.CodeMirror.setValue(text)", filled)
        button = page.get_by_role("button", name="Launch Run")
        expect(button).to_be_enabled()
        if picture:
            screenshot(page, picture)
        before = newest(job)["runId"]
        button.click()
        deadline = time.monotonic() + 180
        while (run := newest(job))["runId"] == before or run["status"] not in ("SUCCESS", "FAILURE"):
            assert time.monotonic() < deadline, run
            time.sleep(0.5)
        return run["runId"], run["status"]

    return launched


def says(look: Look, run_id: str, words: str) -> None:
    expect(look(f"/runs/{run_id}").get_by_text(words).first).to_be_visible()


def test_launchpad_is_filled_in_and_describes_itself(look: Look) -> None:
    page = look("/locations/sora_pipeline.definitions/jobs/set_budget_job/playground")
    editor = page.locator(".CodeMirror").first
    expect(editor).to_contain_text("usd")
    filled = editor.evaluate("editor => editor.CodeMirror.getValue()")
    assert filled.split() == ["ops:", "set_budget:", "config:", "production:", "''", "usd:", "''"], filled
    editor.evaluate("editor => { editor.CodeMirror.focus(); editor.CodeMirror.setCursor(4, 10); }")
    expect(page.get_by_text("US dollars that the production may cost in all").first).to_be_visible()


def test_budget_is_raised(launch: Launch, look: Look) -> None:
    run_id, status = launch("set_budget_job", "ui-launchpad", production="spring", usd="'25'")
    assert status == "SUCCESS"
    says(look, run_id, "spring may cost 25.00 sandbox USD (it was no limit)")


@pytest.mark.parametrize(
    ("job", "changes", "sentence"),
    [
        ("set_budget_job", {"usd": "'5'"}, "say which production is meant: spring, summer"),
        ("set_budget_job", {"production": "sprnig", "usd": "'5'"}, "Did you mean spring?"),
        (
            "retry_job",
            {"production": "spring", "kind": "hunger"},
            "kind: hunger is no kind that clips failed with; there are: content_policy (2)",
        ),
        (
            "change_prompt_job",
            {"production": "summer", "clip": "kit", "prompt": "x"},
            "summer has no clip 'kit'",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(
    launch: Launch, look: Look, job: str, changes: dict[str, Any], sentence: str
) -> None:
    run_id, status = launch(job, **changes)
    assert status == "FAILURE"
    says(look, run_id, sentence)


def test_retry_says_its_price(launch: Launch, look: Look) -> None:
    run_id, status = launch("retry_job", production="spring", clips="[owl]")
    assert status == "SUCCESS"
    says(look, run_id, "submitted again, for 1.20 sandbox USD: spring:owl")


def test_clip_with_a_new_prompt_is_made_and_shown(launch: Launch, look: Look, dev: Dev) -> None:
    run_id, status = launch(
        "change_prompt_job", production="spring", clip="fox", prompt="A fox looks up, kindly"
    )
    assert status == "SUCCESS"
    says(look, run_id, "spring: fox is made with the new prompt, for 1.20 sandbox USD within the budget")
    deadline = time.monotonic() + 180
    while not dev.graphql(MADE, clip="spring:fox")["assetNodes"][0]["assetMaterializations"]:
        assert time.monotonic() < deadline
        time.sleep(1)
    page = look("/assets/videos?view=partitions&partition=spring%3Afox")
    expect(page.locator("img[alt='poster']")).to_be_visible()
    expect(page.get_by_text("A fox looks up, kindly", exact=True)).to_be_visible()
