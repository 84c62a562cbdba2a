"""What people are told, once, whatever the webhook does."""

import logging
from datetime import timedelta
from decimal import Decimal

import pytest

from sora_pipeline.ledger import Attempt, AttemptState, Ledger, Production
from sora_pipeline.production import notifying
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import Desk, limits_of
from sora_pipeline.production.notices import MOST_CLIPS, escaped, failed_run_message
from sora_pipeline.production.notifying import NEWS, NotificationProblem, send, tell_if_settled
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline_tests.conftest import Clock, Producer, Sandbox, other_run, rows_of, settings_of
from sora_pipeline_tests.webhook import (
    DROP,
    HANG,
    SECRET_PATH,
    Webhook,
    require_what_slack_takes,
    words,
)

pytestmark = pytest.mark.anyio


async def make(desk: Desk, *clip_ids: str) -> None:
    await ensure_predictions(desk, clip_ids, batch_id=desk.owner, may_begin=True)
    collected = await collect_videos(desk, clip_ids, resume_timed_out=False)
    ended = [attempt for attempt, _ in collected.failed.values() if attempt.state is AttemptState.FAILED]
    desk.ledger.attempts.report([attempt.attempt_id for attempt in ended])


def tell(ledger: Ledger, production: Production, **settings: object) -> bool:
    newest = ledger.productions.get(production.production_id)
    return tell_if_settled(ledger, newest, settings_of(**settings), load_catalogue())


def published(ledger: Ledger, production: Production) -> None:
    assert publish(ledger, production.production_id, settings_of(), "publisher")


def fail(ledger: Ledger, clip_id: str, message: str) -> Attempt:
    """End a clip without a provider, for good."""
    (attempt,) = ledger.attempts.reserve(
        {clip_id: 1}, batch_id=clip_id, limits=limits_of(settings_of()), lease_s=60
    ).reserved
    assert ledger.attempts.fail(attempt.attempt_id, "image", message, retryable=False, reported=True)
    return attempt


async def test_finished_production_is_told_with_all_that_people_ask(
    desk: Desk, production: Producer, webhook: Webhook, sandbox: Sandbox
) -> None:
    made = production(
        [
            *rows_of(
                fine="a fox",
                refused="[sandbox:policy] <!channel> & co",
                lost="[sandbox:lost-answer] an owl",
            ),
            {"clip_id": "wrong", "prompt": ""},
        ],
        budget=Decimal(10),
    )
    await make(desk, "fine", "refused", "lost")
    assert not tell(desk.ledger, made), "its output manifest does not show it yet"
    published(desk.ledger, made)
    assert tell(desk.ledger, made, ui_url="http://ui.example:3000/")
    (message,) = webhook.told
    require_what_slack_takes(message)
    shown = words(message)
    for word in (
        "Production finished: 1 of 4 clips delivered",
        "1 ambiguous, 1 delivered, 1 failed, 1 invalid",
        "2.40 USD of 10.00 USD budget",
        "`refused` failed: content_policy",
        "`lost` ambiguous: ambiguous_submit",
        f"{made.output_uri}/gallery.html",
        f"{made.output_uri}/metadata.parquet",
        "<http://ui.example:3000/assets/video_manifest|",
        made.manifest_uri,
    ):
        assert word in shown
    assert "1 of 4 clips delivered, 2.40 USD" in message["text"]
    assert not tell(desk.ledger, made)
    assert webhook.calls == 1


async def test_state_is_told_once_and_the_next_one_again(
    desk: Desk, production: Producer, webhook: Webhook
) -> None:
    rows = rows_of(a="a fox", refused="[sandbox:policy] an owl")
    made = production(rows)
    await make(desk, "a", "refused")
    published(desk.ledger, made)
    assert tell(desk.ledger, made)
    production(rows)
    published(desk.ledger, made)
    assert not tell(desk.ledger, made), "the same manifest, read once more"
    assert desk.ledger.tellings.untold(desk.ledger.now() - NEWS) == []
    retry_clips(desk.ledger, desk.settings, [])
    assert not tell(desk.ledger, made), "it is pending"
    await make(other_run(desk), "refused")
    published(desk.ledger, made)
    assert tell(desk.ledger, made), "it was tried, and refused, once more"
    assert webhook.calls == 2


def test_production_at_work_is_not_told(
    ledger: Ledger, production: Producer, webhook: Webhook, impatient: None
) -> None:
    made = production(rows_of(a="a fox", b="an owl"))
    fail(ledger, "a", "no")
    published(ledger, made)
    assert not tell(ledger, made)
    ledger.attempts.reserve({"b": 1}, batch_id="b", limits=limits_of(settings_of()), lease_s=60)
    assert ledger.tellings.untold(ledger.now() - NEWS) == []
    assert webhook.calls == 0


def test_stop_is_told_at_once_and_not_again_for_every_probe(
    ledger: Ledger, production: Producer, webhook: Webhook, clock: Clock
) -> None:
    made = production(rows_of(a="a fox"))
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    assert tell(ledger, made)
    assert "stopped early: 0 of 1 clips delivered" in webhook.texts[0]
    assert "top the account up" in words(webhook.told[0])
    clock.turn(400)
    assert ledger.breakers.begin_probe("sandbox", "probe")
    (attempt,) = ledger.attempts.reserve(
        {"a": 1}, batch_id="probe", limits=limits_of(settings_of()), lease_s=60
    ).reserved
    assert ledger.attempts.begin_submit(attempt.attempt_id, "run", lease_s=60, request_summary={})
    assert ledger.attempts.withdraw(attempt.attempt_id, "connect", "refused")
    assert ledger.attempts.release(attempt.attempt_id)
    assert len(ledger.tellings.untold(clock() - NEWS)) == 1
    assert not tell(ledger, made)
    assert ledger.tellings.untold(clock() - NEWS) == []
    assert webhook.calls == 1


def test_budget_that_is_used_up_is_told_with_its_reason(
    ledger: Ledger, production: Producer, webhook: Webhook
) -> None:
    made = production(rows_of(a="a fox"), budget=Decimal(1))
    assert tell(ledger, made)
    assert "stopped early" in webhook.texts[0]
    assert "SORA_BUDGET_USD" in words(webhook.told[0])


def test_long_list_of_failures_is_cut_and_fits(
    ledger: Ledger, production: Producer, webhook: Webhook
) -> None:
    ids = [f"clip-{number:02}" for number in range(MOST_CLIPS + 7)]
    made = production([{"clip_id": each, "prompt": "a fox"} for each in ids])
    for clip_id in ids:
        fail(ledger, clip_id, "&" * 900)
    published(ledger, made)
    assert tell(ledger, made)
    require_what_slack_takes(webhook.told[0])
    shown = words(webhook.told[0])
    assert "`clip-19`" in shown
    assert "`clip-20`" not in shown
    assert "and 7 more" in shown


@pytest.mark.parametrize(
    ("answer", "said"),
    [(500, "HTTP 500"), (429, "HTTP 429"), (302, "HTTP 302"), (DROP, "protocol error"), (HANG, "timeout")],
)
def test_message_that_was_not_taken_is_still_to_be_told(
    ledger: Ledger,
    production: Producer,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    answer: int | str,
    said: str,
) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT_S", 0.5)
    webhook.answers = [answer]
    webhook.headers = {"Retry-After": "17"} if answer == 429 else {}
    made = production(rows_of(a="a fox"), budget=Decimal(1))
    with pytest.raises(NotificationProblem, match=said) as caught:
        tell(ledger, made)
    assert caught.value.retry_after_s == (17 if answer == 429 else None)
    assert "127.0.0.1" in str(caught.value)
    assert SECRET_PATH not in repr(caught.value) + str(caught.value.__cause__)
    assert len(ledger.tellings.untold(ledger.now() - NEWS)) == 1
    assert tell(ledger, made)
    assert len(webhook.told) == 1


def test_nobody_at_the_address_is_one_sentence(
    ledger: Ledger, production: Producer, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = production(rows_of(a="a fox"), budget=Decimal(1))
    for url in ("http://127.0.0.1:9/secret", "http://127.0.0.1:nine/secret", "https:///secret"):
        monkeypatch.setenv("SORA_NOTIFY_URL", url)
        with pytest.raises(NotificationProblem, match="SORA_NOTIFY_URL") as caught:
            tell(ledger, made)
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_two_who_look_at_once_tell_once(ledger: Ledger, production: Producer) -> None:
    made = production(rows_of(a="a fox"))
    first = ledger.tellings.claim(made, "state")
    assert first is not None
    assert ledger.tellings.claim(made, "state") is None
    ledger.tellings.give_back(first)
    again = ledger.tellings.claim(made, "state")
    assert again is not None
    fail(ledger, "a", "no")
    changed = ledger.productions.get(made.production_id)
    assert ledger.tellings.claim(made, "other") is None, "it is no longer how things stand"
    newer = ledger.tellings.claim(changed, "other")
    assert newer is not None
    ledger.tellings.give_back(again)
    assert ledger.tellings.claim(changed, "other") is None, "what was told since is not given back"


def test_old_changes_are_no_news(ledger: Ledger, production: Producer, clock: Clock) -> None:
    production(rows_of(a="a fox"))
    assert len(ledger.tellings.untold(clock() - NEWS)) == 1
    clock.turn((NEWS + timedelta(seconds=1)).total_seconds())
    assert ledger.tellings.untold(clock() - NEWS) == []


def test_no_secret_leaves_in_a_message_or_a_log(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SORA_API_KEY", "sk-very-secret")
    monkeypatch.setenv("SORA_LEDGER_URL", "postgresql+psycopg2://me:hidden-word@db/sora")
    reason = f"key sk-very-secret at {webhook.url}, hidden-word, postgresql+psycopg2://me:hidden-word@db/sora"
    with caplog.at_level(logging.DEBUG):
        send(failed_run_message("job", "run", None, reason, None), settings_of())
    sent = words(webhook.told[0]) + webhook.texts[0]
    for secret in ("sk-very-secret", SECRET_PATH, "hidden-word"):
        assert secret not in sent
        assert secret not in caplog.text


def test_text_from_elsewhere_means_nothing_to_slack() -> None:
    assert escaped("<!channel> a & b\n<http://x|y>") == "&lt;!channel&gt; a &amp; b &lt;http://x|y&gt;"
