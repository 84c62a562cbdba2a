"""The sensors that tell people, ticked as the daemon ticks them, with a real webhook."""

import time
from decimal import Decimal

import dagster as dg
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB, MANIFEST_JOB
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Clock, Producer, rows_of, standing
from sora_pipeline_tests.webhook import DROP, SECRET_PATH, Webhook, require_what_slack_takes, words

FINISHED, FAILED = "finished_notification_sensor", "failure_notification_sensor"
NOTHING = "no production has settled"


def produce(daemon: Daemon, clock: Clock) -> None:
    """From pending clips to a published manifest, as the sensors do it."""
    daemon.run(daemon.tick("dispatch_sensor").request)
    for _ in range(300):
        clock.turn(2)
        tick = daemon.tick("poll_sensor")
        if tick.requests:
            break
        time.sleep(0.05)  # the provider renders by a clock of its own
    for request in tick.requests:
        daemon.run(request)
    daemon.run(daemon.tick("publish_sensor").request, "video_manifest_job")


def test_finished_production_is_told_once(
    daemon: Daemon, ledger: Ledger, production: Producer, webhook: Webhook, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    assert NOTHING in daemon.tick(FINISHED).skipped, "it has not begun"
    produce(daemon, clock)
    assert standing(ledger, "a").delivered is not None
    assert daemon.tick(FINISHED).skipped.startswith("told of ")
    require_what_slack_takes(webhook.told[0])
    assert "1 of 1 clip delivered" in webhook.texts[0]
    assert NOTHING in daemon.tick(FINISHED).skipped
    assert webhook.calls == 1


def test_webhook_that_is_down_is_tried_again_with_growing_pauses(
    daemon: Daemon, production: Producer, webhook: Webhook, clock: Clock
) -> None:
    production(rows_of(a="a fox"), budget=Decimal(1))
    webhook.answers = [500, DROP, 503]
    for pause, calls in ((30, 1), (60, 2), (120, 3)):
        said = daemon.tick(FINISHED).skipped
        assert f"(try {calls})" in said
        assert SECRET_PATH not in said
        clock.turn(pause - 5)
        assert f"(try {calls})" in daemon.tick(FINISHED).skipped, "it is left alone"
        assert webhook.calls == calls
        clock.turn(6)
    assert daemon.tick(FINISHED).skipped.startswith("told of ")
    assert len(webhook.told) == 1
    assert SECRET_PATH not in str(daemon.cursors)
    assert daemon.cursors[FINISHED] is not None


def test_webhook_that_asks_for_a_pause_gets_it(
    daemon: Daemon, production: Producer, webhook: Webhook, clock: Clock
) -> None:
    production(rows_of(a="a fox"), budget=Decimal(1))
    webhook.answers, webhook.headers = [429], {"Retry-After": "600"}
    skipped = daemon.tick(FINISHED).skipped
    assert "HTTP 429" in skipped
    assert "SORA_NOTIFY_URL" in skipped
    clock.turn(590)
    daemon.tick(FINISHED)
    assert webhook.calls == 1
    clock.turn(11)
    assert daemon.tick(FINISHED).skipped.startswith("told of ")


def test_message_that_is_never_taken_does_not_stand_in_the_way_of_others(
    daemon: Daemon, production: Producer, webhook: Webhook
) -> None:
    production(rows_of(a="a fox"), budget=Decimal(1), file="one.csv")
    production(rows_of(b="an owl"), budget=Decimal(1), file="two.csv")
    webhook.answers = [400]
    assert "HTTP 400" in daemon.tick(FINISHED).skipped
    assert "told of " in daemon.tick(FINISHED).skipped
    assert "two.csv" in webhook.texts[0]


def test_failed_run_is_told_with_its_clips_and_reason(
    daemon: Daemon, ledger: Ledger, production: Producer, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_UI_URL", "http://ui.example")
    daemon.tick(FAILED)  # what failed before the webhook was set is not told
    production(rows_of(a="[sandbox:policy] a fox", b="an owl"))
    failed = daemon.run(daemon.tick("dispatch_sensor").request)
    assert not failed.success
    daemon.tick(FAILED)
    (message,) = webhook.told
    require_what_slack_takes(message)
    shown = words(message)
    assert f"Run failed: {GENERATIONS_JOB}" in shown
    assert "*Clips* prompts:a … prompts:b (2)" in shown
    assert "*Why* 1 clip could not be submitted: prompts:a: content_policy" in shown
    assert f"<http://ui.example/runs/{failed.run_id}|" in shown
    daemon.tick(FAILED)
    assert webhook.calls == 1


def test_run_that_died_is_told_in_dagsters_words(
    daemon: Daemon, instance: dg.DagsterInstance, webhook: Webhook
) -> None:
    daemon.tick(FAILED)
    run = daemon.a_run(dg.DagsterRunStatus.STARTED, {}, MANIFEST_JOB)
    instance.report_run_failed(run, "The run's process is gone.\nIt was killed.")
    webhook.answers = [503]
    daemon.tick(FAILED)
    assert webhook.calls == 2, "it is tried once more at once"
    assert "*Why* The run's process is gone." in words(webhook.told[0])
    assert "killed" not in words(webhook.told[0])


def test_failed_run_that_cannot_be_told_turns_the_tick_red(
    daemon: Daemon, instance: dg.DagsterInstance, webhook: Webhook
) -> None:
    daemon.tick(FAILED)
    run = daemon.a_run(dg.DagsterRunStatus.STARTED, {}, MANIFEST_JOB)
    instance.report_run_failed(run, "gone")
    webhook.answers, webhook.headers = [429], {"Retry-After": "3600"}
    tick = daemon.tick(FAILED)
    assert webhook.calls == 1
    (error,) = tick.errors
    assert "HTTP 429" in error
    assert SECRET_PATH not in error
