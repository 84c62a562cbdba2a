"""What people are told, once, whatever the webhook does."""

import logging
from datetime import timedelta
from decimal import Decimal

import pytest

from sora_pipeline.admission.limits import limits_of
from sora_pipeline.advice import explained
from sora_pipeline.ledger import Attempt, AttemptState, Ledger, Production
from sora_pipeline.notifications import webhook as webhook_module
from sora_pipeline.notifications.messages import MOST_CLIPS, escaped, failed_run_message
from sora_pipeline.notifications.webhook import NEWS, NotificationError, notify_if_settled, send
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Clock,
    Producer,
    Sandbox,
    key,
    keys,
    other_run,
    rows_of,
    settings_of,
)
from sora_pipeline_tests.production.parts import SANDBOX
from sora_pipeline_tests.webhook import (
    DROP,
    HANG,
    SECRET_PATH,
    Webhook,
    require_what_slack_takes,
    words,
)

pytestmark = pytest.mark.anyio


async def make(run_context: RunContext, *clip_ids: str) -> None:
    await ensure_predictions(run_context, keys(*clip_ids), batch_id=run_context.owner, may_begin=True)
    collected = await collect_videos(run_context, keys(*clip_ids), resume_timed_out=False)
    ended = [attempt for attempt, _ in collected.failed.values() if attempt.state is AttemptState.FAILED]
    run_context.ledger.attempts.report([attempt.attempt_id for attempt in ended])


def tell(ledger: Ledger, production: Production, **settings: object) -> bool:
    newest = ledger.productions.get(production.production_id)
    return notify_if_settled(
        ledger, newest, settings_of(**settings), load_catalogue(), ["brands", "video_manifest"]
    )


def published(ledger: Ledger, production: Production) -> None:
    assert publish(ledger, production.production_id, settings_of(), "publisher")


def fail(ledger: Ledger, clip_id: str, message: str, production: str = PROMPTS) -> Attempt:
    """End a clip without a provider, for good."""
    (attempt,) = ledger.attempts.reserve(
        {key(clip_id, production): 1},
        account=SANDBOX,
        batch_id=clip_id,
        limits=limits_of(settings_of()),
        lease_s=60,
    ).reserved
    assert ledger.attempts.fail(attempt.attempt_id, "image", message, retryable=False, reported=True)
    return attempt


async def test_finished_production_is_told_with_all_that_people_ask(
    run_context: RunContext, production: Producer, webhook: Webhook, sandbox: Sandbox
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
    await make(run_context, "fine", "refused", "lost")
    assert not tell(run_context.ledger, made), "its output manifest does not show it yet"
    published(run_context.ledger, made)
    public = "https://cdn.example/clips"
    assert tell(run_context.ledger, made, ui_url="http://ui.example:3000/", public_url=public)
    (message,) = webhook.told
    require_what_slack_takes(message)
    shown = words(message)
    for word in (
        "prompts finished: 1 of 4 clips delivered",
        "1 ambiguous, 1 delivered, 1 failed, 1 invalid",
        "2.40 sandbox USD, of a budget of 10.00",
        "`refused` failed: content_policy",
        "`lost` ambiguous: ambiguous_submit",
        "<https://cdn.example/clips/prompts/gallery.html|Gallery>",
        f"{made.output_uri}/metadata.parquet",
        "<http://ui.example:3000/assets/brands/video_manifest|",
        made.manifest_uri,
    ):
        assert word in shown
    assert "1 of 4 clips delivered, 2.40 sandbox USD" in message["text"]
    assert not tell(run_context.ledger, made)
    assert webhook.calls == 1


async def test_state_is_told_once_and_the_next_one_again(
    run_context: RunContext, production: Producer, webhook: Webhook
) -> None:
    rows = rows_of(a="a fox", refused="[sandbox:policy] an owl")
    made = production(rows)
    await make(run_context, "a", "refused")
    published(run_context.ledger, made)
    assert tell(run_context.ledger, made)
    production(rows)
    published(run_context.ledger, made)
    assert not tell(run_context.ledger, made), "the same manifest, read once more"
    assert run_context.ledger.notifications.unnotified(run_context.ledger.now() - NEWS, "") == []
    retry_clips(run_context.ledger, run_context.settings, [PROMPTS], [])
    assert not tell(run_context.ledger, made), "it is pending"
    await make(other_run(run_context), "refused")
    published(run_context.ledger, made)
    assert tell(run_context.ledger, made), "it was tried, and refused, once more"
    assert webhook.calls == 2


def test_production_at_work_is_not_told(
    ledger: Ledger, production: Producer, webhook: Webhook, impatient: None
) -> None:
    made = production(rows_of(a="a fox", b="an owl"))
    fail(ledger, "a", "no")
    published(ledger, made)
    assert not tell(ledger, made)
    ledger.attempts.reserve(
        {key("b"): 1}, account=SANDBOX, batch_id="b", limits=limits_of(settings_of()), lease_s=60
    )
    assert ledger.notifications.unnotified(ledger.now() - NEWS, "") == []
    assert webhook.calls == 0


def test_stop_is_told_at_once_and_not_again_for_every_probe(
    ledger: Ledger, production: Producer, webhook: Webhook, clock: Clock
) -> None:
    made = production(rows_of(a="a fox"))
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    assert tell(ledger, made)
    assert "stopped early: 0 of 1 clip delivered" in webhook.texts[0]
    assert "top the account up" in words(webhook.told[0])
    clock.turn(400)
    assert ledger.breakers.begin_probe("sandbox", "probe")
    (attempt,) = ledger.attempts.reserve(
        {key("a"): 1}, account=SANDBOX, batch_id="probe", limits=limits_of(settings_of()), lease_s=60
    ).reserved
    assert ledger.attempts.begin_submit(attempt.attempt_id, "run", lease_s=60, request_summary={})
    assert ledger.attempts.withdraw(attempt.attempt_id, "connect", "refused")
    assert ledger.attempts.release(attempt.attempt_id)
    assert len(ledger.notifications.unnotified(clock() - NEWS, "")) == 1
    assert not tell(ledger, made)
    assert ledger.notifications.unnotified(clock() - NEWS, "") == []
    assert webhook.calls == 1


def test_budget_that_is_used_up_is_told_with_its_reason(
    ledger: Ledger, production: Producer, webhook: Webhook
) -> None:
    made = production(rows_of(a="a fox"), budget=Decimal(1))
    assert tell(ledger, made)
    assert "stopped early" in webhook.texts[0]
    assert "sora-pipeline budget prompts" in words(webhook.told[0])


def test_each_production_is_told_under_its_name_with_its_own_clips(
    ledger: Ledger, production: Producer, webhook: Webhook
) -> None:
    monday = production(rows_of(a="a fox", b="an owl"), file="monday.csv", budget=Decimal(1))
    tuesday = production(rows_of(a="a cat"), file="tuesday.csv")
    fail(ledger, "a", "tuesday's cat", production="tuesday")
    for made in (monday, tuesday):
        published(ledger, made)
        assert tell(ledger, made)
        assert not tell(ledger, made)
    assert "monday stopped early: 0 of 2 clips delivered" in webhook.texts[0]
    assert "tuesday finished: 0 of 1 clip delivered" in webhook.texts[1]
    assert "tuesday" not in words(webhook.told[0])
    assert "`a` failed: image: tuesday's cat" in words(webhook.told[1])
    assert ledger.notifications.unnotified(ledger.now() - NEWS, "") == []


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
    monkeypatch.setattr(webhook_module, "TIMEOUT_S", 0.5)
    webhook.answers = [answer]
    webhook.headers = {"Retry-After": "17"} if answer == 429 else {}
    made = production(rows_of(a="a fox"), budget=Decimal(1))
    with pytest.raises(NotificationError, match=said) as caught:
        tell(ledger, made)
    assert caught.value.retry_after_s == (17 if answer == 429 else None)
    assert "127.0.0.1" in str(caught.value)
    assert SECRET_PATH not in repr(caught.value) + str(caught.value.__cause__)
    assert len(ledger.notifications.unnotified(ledger.now() - NEWS, "")) == 1
    assert tell(ledger, made)
    assert len(webhook.told) == 1


def test_nobody_at_the_address_is_one_sentence(
    ledger: Ledger, production: Producer, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = production(rows_of(a="a fox"), budget=Decimal(1))
    for url in ("http://127.0.0.1:9/secret", "http://127.0.0.1:nine/secret", "https:///secret"):
        monkeypatch.setenv("SORA_NOTIFY_URL", url)
        with pytest.raises(NotificationError) as caught:
            tell(ledger, made)
        assert "SORA_NOTIFY_URL" in explained(caught.value)
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__


def test_two_who_look_at_once_tell_once(ledger: Ledger, production: Producer) -> None:
    made = production(rows_of(a="a fox"))
    first = ledger.notifications.claim(made, "state")
    assert first is not None
    assert ledger.notifications.claim(made, "state") is None
    ledger.notifications.give_back(first)
    again = ledger.notifications.claim(made, "state")
    assert again is not None
    fail(ledger, "a", "no")
    changed = ledger.productions.get(made.production_id)
    assert ledger.notifications.claim(made, "other") is None, "it is no longer how things stand"
    newer = ledger.notifications.claim(changed, "other")
    assert newer is not None
    ledger.notifications.give_back(again)
    assert ledger.notifications.claim(changed, "other") is None, "what was told since is not given back"


def test_old_changes_are_no_news(ledger: Ledger, production: Producer, clock: Clock) -> None:
    production(rows_of(a="a fox"))
    assert len(ledger.notifications.unnotified(clock() - NEWS, "")) == 1
    clock.turn((NEWS + timedelta(seconds=1)).total_seconds())
    assert ledger.notifications.unnotified(clock() - NEWS, "") == []


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
