"""What a stopped command still waits for."""

import threading
import time

import pytest

from sora_pipeline.headless import last_submits
from sora_pipeline.headless.last_submits import let_submits_end
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline_tests.conftest import Producer, key, latest, rows_of, settings_of
from sora_pipeline_tests.production.parts import SANDBOX


def submitting(ledger: Ledger, production: Producer) -> int:
    production(rows_of(a="a fox"))
    (attempt,) = ledger.attempts.reserve(
        {key("a"): 1_200_000}, account=SANDBOX, batch_id="batch", limits=Limits(20, 3), lease_s=60
    ).reserved
    assert ledger.attempts.begin_submit(attempt.attempt_id, "run", lease_s=60, request_summary={})
    return attempt.attempt_id


def accept(ledger: Ledger, attempt_id: int) -> None:
    time.sleep(0.5)
    ledger.attempts.accept(
        attempt_id,
        prediction_id="p",
        poll_url=None,
        provider_status="queued",
        model_returned=None,
        deadline_s=60,
        first_poll_s=1,
    )


def test_stop_hears_the_answers_that_are_on_their_way_and_lets_no_further_submit_begin(
    ledger: Ledger, production: Producer
) -> None:
    attempt_id = submitting(ledger, production)
    answer = threading.Thread(target=accept, args=(ledger, attempt_id))
    answer.start()
    let_submits_end(ledger, settings_of(), "")
    assert latest(ledger, "a").state is AttemptState.IN_FLIGHT
    assert ledger.pauses.left_s("sandbox") > 0
    answer.join()


def test_stop_does_not_wait_for_ever_nor_where_nothing_is_submitted(
    ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_submits_end(ledger, settings_of(), "")
    assert ledger.pauses.left_s("sandbox") == 0
    submitting(ledger, production)
    monkeypatch.setattr(last_submits, "LAST_ANSWERS_S", 0.3)
    let_submits_end(ledger, settings_of(), "")
    assert latest(ledger, "a").state is AttemptState.SUBMITTING


def test_stop_lets_no_submit_begin_where_all_slots_are_taken_and_clips_are_pending(
    ledger: Ledger, production: Producer
) -> None:
    """The daemon's runs live for some seconds yet: a render ends, and its slot would be taken."""
    attempt_id = submitting(ledger, production)
    accept(ledger, attempt_id)
    assert let_submits_end(ledger, settings_of(), "") is None, "nothing is left to submit"
    production(rows_of(a="a fox", b="an owl"))
    assert let_submits_end(ledger, settings_of(), "") is not None
    assert ledger.pauses.left_s("sandbox") > 0
