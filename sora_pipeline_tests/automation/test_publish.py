from datetime import timedelta

from sora_pipeline.automation.publish import GIVEN_UP_AFTER, WHILE_WORKING
from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Ledger, Limits
from sora_pipeline.names import PRODUCTION_TAG, PUBLISH_JOB
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Clock, Producer, key, rows_of
from sora_pipeline_tests.production.parts import SANDBOX

PUBLISH = "publish_sensor"
MOMENT = timedelta(seconds=1)


def settle(ledger: Ledger, clip: str) -> None:
    """End a clip without a provider, for good."""
    (attempt,) = ledger.attempts.reserve(
        {clip: 1}, account=SANDBOX, batch_id="batch", limits=Limits(20, 3), lease_s=60
    ).reserved
    assert ledger.attempts.fail(attempt.attempt_id, "image", "no", retryable=False, reported=True)


def test_working_production_is_published_only_now_and_then(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    assert "up to date, or will be" in daemon.tick(PUBLISH).skipped
    clock.turn((WHILE_WORKING + MOMENT).total_seconds())
    request = daemon.tick(PUBLISH).request
    assert daemon.run(request, PUBLISH_JOB).success
    assert ledger.productions.unpublished("") == []
    assert daemon.tick(PUBLISH).requests == []


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
