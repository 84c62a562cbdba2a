import json
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any

import dagster as dg

from sora_pipeline.assets import video_manifest
from sora_pipeline.automation.publish import GIVEN_UP_AFTER
from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Ledger, Limits
from sora_pipeline.ledger.batches import VIDEOS
from sora_pipeline.names import PRODUCTION_TAG, PUBLISH_JOB, PipelineNames
from sora_pipeline.production.publishing_meanwhile import EVERY
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Clock, Producer, key, keys, rows_of, settings_of
from sora_pipeline_tests.production.parts import SANDBOX

PUBLISH = "publish_sensor"
MOMENT = timedelta(seconds=1)


def settle(ledger: Ledger, clip: str) -> None:
    """End a clip without a provider, for good."""
    (attempt,) = ledger.attempts.reserve(
        {clip: 1}, account=SANDBOX, batch_id="batch", limits=Limits(20, 3), lease_s=60
    ).reserved
    assert ledger.attempts.fail(attempt.attempt_id, "image", "no", retryable=False, reported=True)


def materialized(daemon: Daemon) -> list[dict[str, Any]]:
    """What Dagster was told of output manifests, the newest first."""
    records = daemon.instance.fetch_materializations(PipelineNames().video_manifest, limit=50).records
    told = [record.asset_materialization for record in records]
    return [{name: value.value for name, value in each.metadata.items()} for each in told if each]


def observed(daemon: Daemon) -> list[str]:
    """What was said of productions that go on, the newest first."""
    records = daemon.instance.fetch_observations(PipelineNames().video_manifest, limit=50).records
    return [str(record.asset_observation.description) for record in records if record.asset_observation]


def publish_now(daemon: Daemon) -> dg.ExecuteInProcessResult:
    result = daemon.run(daemon.tick(PUBLISH).request, PUBLISH_JOB)
    assert result.success
    return result


def test_working_production_is_published_only_now_and_then_and_is_no_news_to_who_waits_for_its_end(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    assert "up to date, or will be" in daemon.tick(PUBLISH).skipped
    clock.turn((EVERY + MOMENT).total_seconds())
    publish_now(daemon)
    assert ledger.productions.unpublished("") == []
    assert daemon.tick(PUBLISH).requests == []
    assert (materialized(daemon), observed(daemon)) == ([], ["prompts goes on"])


def test_no_run_is_requested_while_runs_at_work_publish_beside_it(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    owned = {"pipeline": "", "account": "sandbox", "asset": VIDEOS, "keys": keys("a"), "lease_s": 500}
    ledger.batches.plan("batch", **owned)  # type: ignore[arg-type]
    ledger.batches.begin("batch", "run", **owned)  # type: ignore[arg-type]
    clock.turn((EVERY + MOMENT).total_seconds())
    assert daemon.tick(PUBLISH).requests == []
    clock.turn(EVERY.total_seconds())
    assert daemon.tick(PUBLISH).request, "it does not do it"


def test_end_is_told_once_with_what_there_is_to_know(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    settle(ledger, key("a"))
    settle(ledger, key("b"))
    publish_now(daemon)
    (told,) = materialized(daemon)
    assert (told["production"], told["finished"], told["clips_failed"]) == ("prompts", True, 2)
    production(rows_of(a="a fox", b="an owl"))
    publish_now(daemon)
    assert len(materialized(daemon)) == 1, "the same manifest was read again"
    retry_clips(ledger, settings_of(), ["prompts"], ["a"])
    publish_now(daemon) if daemon.tick(PUBLISH).requests else None
    settle(ledger, key("a"))
    publish_now(daemon)
    again, first = materialized(daemon)
    assert again["finished_at"] > first["finished_at"]


def test_production_that_a_budget_stops_is_published_at_once_and_has_not_finished(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"), budget=Decimal("0.50"))
    publish_now(daemon)
    assert ledger.productions.unpublished("") == []
    assert materialized(daemon) == []
    (said,) = daemon.tick(PUBLISH).checks
    assert (said.check_name, said.passed, said.severity) == ("finished", False, dg.AssetCheckSeverity.WARN)
    assert "prompts is stopped: 2 pending" in (said.description or "")
    assert "--budget" in (said.description or "")


def test_person_gets_a_materialization_whenever_they_ask(daemon: Daemon, production: Producer) -> None:
    production(rows_of(a="a fox"))
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    (told,) = materialized(daemon)
    assert told["finished"] is False
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    assert len(materialized(daemon)) == 2


def test_check_says_how_far_productions_are_and_when_they_have_finished(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"), file="one.csv")
    production(rows_of(a="an owl"), file="two.csv")
    clock.turn((EVERY + MOMENT).total_seconds())
    for request in daemon.tick(PUBLISH).requests:
        assert daemon.run(request, PUBLISH_JOB).success
    said = {each.metadata["production"].value: each for each in daemon.tick(PUBLISH).checks}
    assert {name: each.description for name, each in said.items()} == {
        "one": "one goes on: 1 pending",
        "two": "two goes on: 1 pending",
    }
    assert daemon.tick(PUBLISH).checks == [], "said once"
    settle(ledger, clip_key("one", "a"))
    (check,) = [
        each for each in publish_now(daemon).get_asset_check_evaluations() if each.check_name == "finished"
    ]
    assert (check.passed, check.description) == (True, "one has finished: 1 failed")
    assert "finished_at" in check.metadata
    assert daemon.tick(PUBLISH).checks == []


def test_run_that_ends_before_dagster_knows_leaves_the_end_to_the_next(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock, monkeypatch: Any
) -> None:
    production(rows_of(a="a fox"))
    settle(ledger, key("a"))

    def killed(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(video_manifest, "_events", killed)
        with suppress(KeyboardInterrupt):
            daemon.run(daemon.tick(PUBLISH).request, PUBLISH_JOB)
    assert materialized(daemon) == []
    clock.turn((GIVEN_UP_AFTER + MOMENT).total_seconds())
    publish_now(daemon)
    assert len(materialized(daemon)) == 1


def test_cursor_of_an_earlier_version_is_understood(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    made = production(rows_of(a="a fox"))
    settle(ledger, key("a"))
    asked = {made.production_id: [10**6, ledger.now().isoformat()]}
    daemon.cursors[PUBLISH] = json.dumps(asked)
    assert daemon.tick(PUBLISH).requests == [], "a run is on its way"


def test_settled_production_is_published_at_once_and_once(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    made = production(rows_of(a="a fox"))
    settle(ledger, key("a"))
    request = daemon.tick(PUBLISH).request
    assert request.tags[PRODUCTION_TAG] == made.production_id
    assert daemon.tick(PUBLISH).requests == [], "a run is on its way"
    clock.turn((GIVEN_UP_AFTER + MOMENT).total_seconds())
    again = daemon.tick(PUBLISH).request
    assert again.run_key != request.run_key, "the first run died"
    assert daemon.run(again, PUBLISH_JOB).success
    assert daemon.tick(PUBLISH).requests == []


def test_change_while_a_publish_is_under_way_is_published_after_it(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    settle(ledger, key("a"))
    settle(ledger, key("b"))
    request = daemon.tick(PUBLISH).request
    assert daemon.run(request, PUBLISH_JOB).success
    production(rows_of(a="a fox"))
    assert daemon.run(daemon.tick(PUBLISH).request, PUBLISH_JOB).success
    assert ledger.productions.unpublished("") == []


def test_each_production_is_published_by_a_run_of_its_own(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    one = production(rows_of(a="a fox"), file="one.csv")
    two = production(rows_of(a="an owl"), file="two.csv", output="two")
    settle(ledger, clip_key(one.production_id, "a"))
    settle(ledger, clip_key(two.production_id, "a"))
    asked = {each.tags[PRODUCTION_TAG] for each in daemon.tick(PUBLISH).requests}
    assert asked == {one.production_id, two.production_id}
