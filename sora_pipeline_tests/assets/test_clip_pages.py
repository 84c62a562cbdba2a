"""What a clip's partition shows, as Dagster stores it: with and without somebody who serves pictures."""

import re
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.assets.clip_pages import MOST_CHARS_SHOWN
from sora_pipeline.ledger import Ledger
from sora_pipeline.media_server.keys import KEY_FILE, read_key
from sora_pipeline.media_server.links import MediaLinks
from sora_pipeline_tests.assets.conftest import Studio
from sora_pipeline_tests.conftest import latest, rows_of
from sora_pipeline_tests.production.parts import video_of

IMAGE = Path(__file__).parents[2] / "data" / "images" / "boat.png"
ROW: dict[str, Any] = {
    "clip_id": "a",
    "prompt": "a boat | *bold*",
    "image": str(IMAGE),
    "size": "1280x720",
    "state": "delivered",
    "campaign": "https://me:s3cr3t@acme.example/x?sig=s3cr3t",
    "empty": "",
}


def made(studio: Studio, row: dict[str, Any]) -> dict[str, Any]:
    studio.read([row])
    assert studio.materialize(["generations"], ("a", "a")).success
    assert studio.materialize(["videos"], ("a", "a")).success
    return studio.metadata("videos", "a")


def test_pictures_are_links_that_are_shown_without_a_click(
    studio: Studio, home: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_MEDIA_URL", "https://media.acme.example")
    shown = made(studio, ROW)
    video = video_of(latest(ledger, "a"))
    links = MediaLinks("https://media.acme.example", read_key(home))
    assert shown["play"] == links.to("prompts", video.file_name)
    assert shown["poster"] == f"[![poster]({links.to('prompts', str(video.poster_path))})]({shown['play']})"
    assert shown["storyboard"] == f"![storyboard]({links.to('prompts', video.storyboard_path)})"
    assert shown["input_image"].startswith("![input image](https://media.acme.example/media/prompts/.images/")
    for name in ("poster", "storyboard", "input_image"):
        assert len(shown[name]) <= MOST_CHARS_SHOWN
    assert (Path(video.output_uri) / video.storyboard_path).read_bytes().startswith(b"\xff\xd8")


def test_where_browsers_read_the_output_no_media_server_is_needed(
    studio: Studio, home: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / KEY_FILE).unlink(missing_ok=True)
    monkeypatch.setenv("SORA_PUBLIC_URL", "https://cdn.acme.example/clips/")
    shown = made(studio, ROW)
    video = video_of(latest(ledger, "a"))
    place = "https://cdn.acme.example/clips/prompts"
    assert shown["play"] == f"{place}/{video.file_name}"
    assert shown["poster"] == f"[![poster]({place}/{video.poster_path})]({shown['play']})"
    assert shown["storyboard"] == f"![storyboard]({place}/{video.storyboard_path})"
    assert shown["input_image"].startswith(f"![input image]({place}/.images/")


def test_row_and_attempts_are_told_and_no_secret_is(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_MAX_ATTEMPTS", "1")
    studio.read([{**ROW, "prompt": "[sandbox:fail-once] a boat"}])
    assert studio.materialize(["generations"], ("a", "a")).success
    assert not studio.materialize(["videos"], ("a", "a")).success
    assert studio.materialize(["videos"], ("a", "a")).success, "a person's second try is another attempt"
    shown = studio.metadata("videos", "a")
    assert studio.metadata("generations", "a")["prompt"] == "[sandbox:fail-once] a boat"
    assert shown["prompt"] == "[sandbox:fail-once] a boat"
    assert (shown["column/state"], "column/empty" in shown) == ("delivered", False)
    assert "s3cr3t" not in repr(shown)
    assert shown["attempts"] == shown["attempt"] == 2
    assert (shown["cost_usd"], shown["spent_usd"]) == (1.2, 2.4)
    assert shown["queue_s"] >= 0
    assert shown["render_s"] >= 0


def test_without_a_server_a_tiny_picture_is_in_the_text(studio: Studio, home: Path) -> None:
    (home / KEY_FILE).unlink(missing_ok=True)  # where the tests' home is one of our commands
    shown = made(studio, ROW)
    assert re.match(r"!\[preview\]\(data:image/webp;base64,", shown["preview"])
    assert len(shown["preview"]) <= MOST_CHARS_SHOWN
    assert shown["poster"].startswith("![poster frame](data:image/jpeg;base64,")
    assert shown["input_image"] == str(IMAGE)
    assert "play" not in shown
    assert "storyboard" not in shown


def test_clip_that_was_delivered_long_ago_gets_links_for_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(studio, ROW)
    monkeypatch.setenv("SORA_MEDIA_URL", "https://media.acme.example")
    assert studio.materialize(["videos"], ("a", "a")).success
    shown = studio.metadata("videos", "a")
    assert shown["play"].startswith("https://media.acme.example/media/prompts/videos/a/")
    assert shown["storyboard"].startswith("![storyboard](https://media.acme.example/")
    assert shown["spent_usd"] == 1.2


def test_lost_key_or_pictures_fail_no_clip(
    studio: Studio, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / KEY_FILE).write_text("nonsense")
    assert "poster" in made(studio, ROW)
    (home / KEY_FILE).unlink()
    for path in (tmp_path / "out" / "prompts" / ".posters" / "a").iterdir():
        path.unlink()
    monkeypatch.setenv("SORA_MEDIA_URL", "https://media.acme.example")
    assert studio.materialize(["videos"], ("a", "a")).success
    shown = studio.metadata("videos", "a")
    assert "play" in shown
    assert "storyboard" not in shown


def test_failed_run_names_each_clip_with_its_reason(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_MAX_POLICY_FAILURES", "0")
    studio.read(rows_of(**{f"c{number:02}": "[sandbox:policy] a fox" for number in range(22)}))
    result = studio.materialize(["generations"], ("c00", "c21"))
    (event,) = [event for event in result.all_events if event.is_step_failure]
    said = event.step_failure_data.user_failure_data
    assert said is not None
    lines = str(said.description).splitlines()
    assert lines[0].startswith("22 clips could not be submitted: prompts:c")
    assert len(lines) == 21
    assert lines[-1] == "and 2 more, see the metadata"
