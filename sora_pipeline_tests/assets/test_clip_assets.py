import threading
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.names import BATCH_TAG, REQUESTED_BY_TAG
from sora_pipeline_tests.assets.conftest import Studio, sentence_of
from sora_pipeline_tests.conftest import Sandbox, keys, latest, rows_of, standing
from sora_pipeline_tests.production.parts import video_of

GREEN, RED = "MATERIALIZED", "FAILED"


def test_failed_submit_is_red_in_generations_and_nothing_else_is(studio: Studio, sandbox: Sandbox) -> None:
    studio.read(rows_of(a="a fox", bad="[sandbox:policy] an owl", c="a bear"))
    result = studio.materialize(["generations"], ("a", "c"))
    assert not result.success
    assert "content_policy" in sentence_of(result)
    assert studio.colours("generations") == {"a": GREEN, "bad": RED, "c": GREEN}
    assert studio.colours("videos") == {"a": None, "bad": None, "c": None}
    assert sandbox.billed == 2


def test_failed_render_is_red_in_videos_and_nothing_else_is(studio: Studio, sandbox: Sandbox) -> None:
    studio.read(rows_of(a="a fox", bad="[sandbox:policy-late] an owl", c="a bear"))
    assert studio.materialize(["generations"], ("a", "c")).success
    result = studio.materialize(["videos"], ("a", "c"), tags={REQUESTED_BY_TAG: "poll_sensor"})
    assert "content_policy" in sentence_of(result)
    assert studio.colours("generations") == {"a": GREEN, "bad": GREEN, "c": GREEN}
    assert studio.colours("videos") == {"a": GREEN, "bad": RED, "c": GREEN}
    assert sandbox.billed == 3


def test_both_assets_in_one_run_deliver(studio: Studio, sandbox: Sandbox, tmp_path: Path) -> None:
    studio.read(rows_of(a="a fox", b="an owl"))
    assert studio.materialize(["generations", "videos"], ("a", "b")).success
    assert studio.colours("generations") == studio.colours("videos") == {"a": GREEN, "b": GREEN}
    assert len(studio.events("generations", "a")) == len(studio.events("videos", "a")) == 1
    assert (
        studio.metadata("generations", "a")["prediction_id"]
        != studio.metadata("generations", "b")["prediction_id"]
    )
    assert Path(str(studio.metadata("videos", "a")["video"])).is_file()
    assert sandbox.billed == 2


def test_delivered_clips_stay_green_where_a_run_over_both_fails_first(
    studio: Studio, sandbox: Sandbox
) -> None:
    studio.read(rows_of(a="a fox", bad="[sandbox:policy] an owl"))
    assert studio.materialize(["generations", "videos"], ("a", "a")).success
    assert not studio.materialize(["generations", "videos"], ("a", "bad")).success
    assert studio.colours("generations") == {"a": GREEN, "bad": RED}
    assert studio.colours("videos")["a"] == GREEN
    assert sandbox.billed == 1


def test_each_clip_has_its_own_metadata_and_data_version(studio: Studio, ledger: Ledger) -> None:
    studio.read(rows_of(a="a fox", b="an owl"))
    studio.materialize(["generations"], ("a", "b"))
    studio.materialize(["videos"], ("a", "b"))
    for clip_id in ("a", "b"):
        attempt = latest(ledger, clip_id)
        made = studio.metadata("generations", clip_id)
        assert made["prediction_id"] == attempt.submission.prediction_id
        assert (made["production"], made["clip_id"], made["account"]) == ("prompts", clip_id, "sandbox")
        assert (made["cost_usd"], made["submitted_by_this_run"]) == (1.2, True)
        assert studio.data_version("generations", clip_id) == attempt.fingerprint
        stored, sha256 = studio.metadata("videos", clip_id), video_of(attempt).facts.sha256
        assert (stored["width"], stored["height"], stored["sha256"]) == (720, 1280, sha256)
        assert studio.data_version("videos", clip_id) == sha256
    assert latest(ledger, "a").fingerprint != latest(ledger, "b").fingerprint


def test_second_materialization_submits_nothing(studio: Studio, sandbox: Sandbox) -> None:
    studio.read(rows_of(a="a fox"))
    for _ in range(2):
        assert studio.materialize(["generations"], ("a", "a")).success
        assert studio.materialize(["videos"], ("a", "a")).success
    assert studio.metadata("generations", "a")["submitted_by_this_run"] is False
    assert sandbox.billed == 1


def test_force_in_the_config_generates_once_more(studio: Studio, sandbox: Sandbox) -> None:
    studio.read(rows_of(a="a fox"))
    assert studio.materialize(["generations", "videos"], ("a", "a")).success
    config = {name: {"config": {"force": True}} for name in ("generations", "videos")}
    assert studio.materialize(["generations", "videos"], ("a", "a"), config=config).success
    assert sandbox.billed == 2, "one run forces one attempt, although two of its assets were told to"
    assert studio.metadata("videos", "a")["attempt"] == 2


def test_changed_row_generates_only_that_clip_anew(studio: Studio, sandbox: Sandbox) -> None:
    studio.read(rows_of(a="a fox", b="an owl"))
    studio.materialize(["generations", "videos"], ("a", "b"))
    before = studio.metadata("generations", "b")["fingerprint"]
    studio.read(rows_of(a="a red fox", b="an owl"))
    assert studio.materialize(["generations", "videos"], ("a", "b")).success
    assert (sandbox.billed_for("a red fox"), sandbox.billed_for("an owl")) == (1, 1)
    assert studio.metadata("generations", "b")["fingerprint"] == before


def test_person_who_materializes_a_failed_clip_begins_a_new_attempt(
    studio: Studio, sandbox: Sandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_MAX_ATTEMPTS", "1")
    studio.read(rows_of(a="[sandbox:fail-once] a fox", b="an owl"))
    studio.materialize(["generations"], ("a", "b"))
    studio.materialize(["videos"], ("a", "b"), tags={REQUESTED_BY_TAG: "poll_sensor"})
    assert studio.colours("videos") == {"a": RED, "b": GREEN}
    assert studio.materialize(["videos"], ("a", "a")).success
    assert studio.colours("videos") == {"a": GREEN, "b": GREEN}
    assert standing(ledger, "a").attempts == 2
    assert sandbox.billed == 3


def test_sensors_run_begins_no_attempt(studio: Studio, sandbox: Sandbox, ledger: Ledger) -> None:
    studio.read(rows_of(a="a fox"))
    tags = {REQUESTED_BY_TAG: "dispatch_sensor", BATCH_TAG: "batch"}
    assert studio.materialize(["generations"], ("a", "a"), tags=tags).success
    assert standing(ledger, "a").attempts == 0
    assert sandbox.billed == 0
    assert studio.colours("generations") == {"a": None}


def test_run_that_a_person_re_executes_counts_as_a_persons(
    studio: Studio, sandbox: Sandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The UI copies the tags of the sensor's run, batch and all."""
    monkeypatch.setenv("SORA_MAX_ATTEMPTS", "1")
    studio.read(rows_of(a="[sandbox:fail-once] a fox"))
    studio.materialize(["generations"], ("a", "a"))
    tags = {REQUESTED_BY_TAG: "poll_sensor", BATCH_TAG: latest(ledger, "a").batch_id}
    first = studio.materialize(["videos"], ("a", "a"), tags=tags)
    assert studio.colours("videos") == {"a": RED}
    again = {**tags, "dagster/parent_run_id": first.run_id, "dagster/root_run_id": first.run_id}
    assert studio.materialize(["videos"], ("a", "a"), tags=again).success
    assert studio.colours("videos") == {"a": GREEN}
    assert sandbox.billed == 2


def test_short_outage_is_survived_by_trying_again(studio: Studio, sandbox: Sandbox, ledger: Ledger) -> None:
    studio.read(rows_of(a="a fox", b="an owl"))
    sandbox.change(outage="503")
    recovery = threading.Timer(0.5, sandbox.change, kwargs={"outage": "none"})
    recovery.start()
    result = studio.materialize(["generations"], ("a", "b"))
    recovery.join()
    assert result.success
    assert studio.colours("generations") == {"a": GREEN, "b": GREEN}
    assert sandbox.billed == 2
    assert {latest(ledger, clip_id).number for clip_id in ("a", "b")} == {1}


def test_lasting_outage_fails_few_clips_and_the_others_stay_pending(
    studio: Studio, sandbox: Sandbox, ledger: Ledger
) -> None:
    clip_ids = [f"c{number:02}" for number in range(12)]
    studio.read(rows_of(**dict.fromkeys(clip_ids, "a fox")))
    sandbox.change(outage="503")
    result = studio.materialize(["generations"], (clip_ids[0], clip_ids[-1]))
    assert "unavailable" in sentence_of(result)
    failed = [clip_id for clip_id in clip_ids if standing(ledger, clip_id).latest is not None]
    assert 3 <= len(failed) < len(clip_ids)
    assert {latest(ledger, clip_id).state for clip_id in failed} == {AttemptState.FAILED}
    assert ledger.clips.pending(3) == [key for key in keys(*clip_ids) if key not in keys(*failed)]


def test_breaker_ends_the_run_with_what_to_do(studio: Studio, sandbox: Sandbox) -> None:
    studio.read(rows_of(a="a fox"))
    sandbox.change(balance_usd=0)
    result = studio.materialize(["generations"], ("a", "a"))
    assert "top the account up" in sentence_of(result)
    assert sandbox.billed == 0


def test_video_manifest_publishes_what_is_out_of_date(studio: Studio, tmp_path: Path) -> None:
    assert "materialize prompt_manifest first" in sentence_of(studio.materialize(["video_manifest"]))
    studio.read(rows_of(a="a fox"))
    result = studio.materialize(["video_manifest"])
    assert result.success
    (event,) = result.asset_materializations_for_node("video_manifest")
    shown = {key: value.value for key, value in event.metadata.items()}
    assert (shown["clips"], shown["clips_pending"], shown["spent_usd"]) == (1, 1, 0.0)
    assert Path(str(shown["manifest"])).is_file()
    assert Path(str(shown["gallery"])).is_file()


def test_gallery_is_a_link_where_browsers_read_the_output(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_PUBLIC_URL", "https://cdn.acme.example")
    studio.read(rows_of(a="a fox"))
    (event,) = studio.materialize(["video_manifest"]).asset_materializations_for_node("video_manifest")
    assert event.metadata["gallery"] == dg.MetadataValue.url("https://cdn.acme.example/prompts/gallery.html")
