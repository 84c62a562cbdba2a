"""The transitions of an attempt: each happens from the states that the design names, and from no other."""

from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from sora_pipeline.ledger import AttemptState, Limits
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.schema import attempts as attempts_table
from sora_pipeline.ledger.types import LIVE_STATES, Failure
from sora_pipeline_tests.ledger.world import DOLLAR, LEASE_S, POLL_S, VIDEO, Clock, World, clip

# ---- write-ahead


def test_reservation_is_committed_before_anything_is_sent(world: World) -> None:
    world.register("a")
    attempt = world.attempts.get(world.reserved())
    assert attempt.state is AttemptState.RESERVED
    assert (attempt.number, attempt.round, attempt.fingerprint) == (1, 1, clip("a").fingerprint)
    assert attempt.reserved_at == world.clock()
    assert attempt.submission.submitted_at is None


def test_intent_to_submit_is_committed_with_the_request_and_the_run(world: World) -> None:
    world.register("a")
    attempt = world.attempts.get(world.submitting(owner="run 1"))
    assert attempt.state is AttemptState.SUBMITTING
    assert attempt.submission.request == {"model": "sora-2"}
    assert (attempt.run_id, attempt.lease.owner, attempt.submission.submitted_at) == (
        "run 1",
        "run 1",
        world.clock(),
    )


def test_attempt_goes_all_the_way_to_collected(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    attempt = world.attempts.get(attempt_id)
    assert attempt.state is AttemptState.COLLECTED
    assert attempt.submission.prediction_id == f"prediction-{attempt_id}"
    assert attempt.result.video == VIDEO
    assert attempt.reported_at == attempt.result.stored_at == world.clock()
    assert not attempt.live


def test_submit_begins_only_from_a_reservation(world: World) -> None:
    for state in ("submitting", "in_flight", "succeeded", "collected", "failed", "ambiguous", "timed_out"):
        world.register(state)
        assert not world.begin_submit(world.at(state, state)), state


def test_withdrawn_attempt_can_be_submitted_again(world: World) -> None:
    world.register("a")
    attempt_id = world.submitting()
    assert world.attempts.withdraw(attempt_id, "connect", "refused")
    assert world.state(attempt_id) == "reserved"
    assert world.begin_submit(attempt_id)


def test_only_what_is_being_submitted_can_be_withdrawn(world: World) -> None:
    for state in ("reserved", "in_flight", "succeeded", "collected", "failed", "ambiguous", "timed_out"):
        world.register(state)
        assert not world.attempts.withdraw(world.at(state, state), "connect", "refused"), state


def test_released_reservation_leaves_no_trace(world: World) -> None:
    world.register("a")
    assert world.attempts.release(world.reserved())
    standing = world.standing("a")
    assert (standing.latest, standing.attempts) == (None, 0)
    assert world.pending() == ["a"]
    assert world.committed() == 0


def test_attempt_that_was_sent_cannot_be_released(world: World) -> None:
    world.register("a")
    attempt_id = world.submitting()
    assert not world.attempts.release(attempt_id)
    assert world.state(attempt_id) == "submitting"


def test_id_of_a_released_reservation_never_becomes_another_clips(world: World) -> None:
    world.register("a", "b")
    stale = world.reserved("a")
    world.attempts.release(stale)
    assert world.reserved("b") != stale
    assert not world.begin_submit(stale, "a run that still knows the old id")


# ---- one live attempt


@pytest.mark.parametrize("state", LIVE_STATES)
def test_clip_with_a_live_attempt_gets_no_other_not_even_by_force(world: World, state: str) -> None:
    world.register("a")
    world.at(state)
    assert world.try_reserve("a") == []
    assert world.try_reserve("a", force=True) == []


@pytest.mark.parametrize("state", LIVE_STATES)
def test_second_live_attempt_of_a_clip_is_refused_by_the_database(world: World, state: str) -> None:
    world.register("a")
    world.at(state)
    for second in LIVE_STATES:
        with (
            pytest.raises(IntegrityError, match=r"failed: attempts\.clip_key\n|one_live_attempt"),
            world.ledger.database.write() as connection,
        ):
            connection.execute(insert(attempts_table).values(**_row(world, state=second, number=2)))


def test_ended_attempts_do_not_stand_in_the_databases_way(world: World) -> None:
    world.register("a")
    with world.ledger.database.write() as connection:
        for number, state in enumerate(("failed", "collected", "failed", "reserved"), 1):
            connection.execute(insert(attempts_table).values(**_row(world, state=state, number=number)))
        count_production(connection, world.production_id)


def test_number_of_an_attempt_is_given_once(world: World) -> None:
    world.register("a")
    world.failed(retryable=True)
    with pytest.raises(IntegrityError), world.ledger.database.write() as connection:
        connection.execute(insert(attempts_table).values(**_row(world, state="failed", number=1)))


def _row(world: World, *, state: str, number: int) -> dict[str, object]:
    return {
        "clip_key": world.key("a"),
        "production_id": world.production_id,
        "number": number,
        "round": 1,
        "fingerprint": clip("a").fingerprint,
        "state": state,
        "batch_id": "by hand",
        "account": "sandbox",
        "provider": "sandbox",
        "simulated": True,
        "model": "sora-2",
        "cost_micros": DOLLAR,
        "reserved_at": world.clock(),
    }


# ---- slots and budget


def test_reservation_stops_at_the_free_slots(world: World) -> None:
    world.limits = Limits(max_in_flight=2, max_attempts=3)
    world.register("a", "b", "c")
    reservation = world.reserve({"c": DOLLAR, "a": DOLLAR, "b": DOLLAR})
    assert [each.clip_id for each in reservation.reserved] == ["c", "a"]
    assert (reservation.no_budget, reservation.unwanted, reservation.elsewhere) == ([], [], [])
    assert world.slots_taken() == 2


@pytest.mark.parametrize("state", AttemptState)
def test_slot_is_taken_from_the_reservation_until_the_video_is_rendered(world: World, state: str) -> None:
    world.register("a")
    world.at(state)
    assert world.slots_taken() == (1 if state in ("reserved", "submitting", "in_flight") else 0)


def test_budget_is_spent_to_the_cent_and_not_beyond(poor_world: World) -> None:
    poor_world.register("a", "b", "c", "d")
    costs = {"a": 2 * DOLLAR, "b": DOLLAR + 10_000, "c": DOLLAR, "d": 1}
    reservation = poor_world.reserve(costs)
    assert [each.clip_id for each in reservation.reserved] == ["a", "c"]
    assert reservation.no_budget == poor_world.keys("b", "d")
    assert poor_world.committed() == Decimal(3)


def test_failure_before_the_provider_accepted_gives_the_money_back(poor_world: World) -> None:
    poor_world.register("a")
    attempt_id = poor_world.submitting()
    poor_world.attempts.fail(attempt_id, "content_policy", "no", retryable=False, reported=True)
    assert poor_world.committed() == 0


@pytest.mark.parametrize("state", ["failed", "collected", "timed_out", "ambiguous", "reserved"])
def test_whatever_may_be_billed_counts_as_spent(world: World, state: str) -> None:
    world.register("a")
    world.at(state)
    assert world.committed() == Decimal(1)


def test_lost_answer_counts_as_spent_even_after_a_person_gave_it_up(world: World) -> None:
    world.register("a")
    attempt_id = world.ambiguous()
    world.attempts.fail(attempt_id, "given_up", "resubmit", retryable=True, reported=True)
    assert world.committed() == Decimal(1)


def test_failure_that_may_have_been_billed_counts_as_spent(world: World) -> None:
    world.register("a")
    attempt_id = world.submitting()
    world.attempts.fail(
        attempt_id, "ambiguous_submit", "lost", retryable=True, reported=True, possibly_billed=True
    )
    assert world.committed() == Decimal(1)


def test_clip_that_left_the_manifest_is_not_reserved_not_even_by_force(world: World) -> None:
    """The plan may be older than the manifest."""
    world.register("a", "b")
    world.register("b")
    for force in (False, True):
        reservation = world.reserve({"a": DOLLAR}, force=force)
        assert (reservation.reserved, reservation.unwanted) == ([], world.keys("a"))


def test_force_begins_an_attempt_for_a_delivered_clip_and_nothing_else_does(world: World) -> None:
    world.register("a")
    world.collected()
    assert world.try_reserve("a") == []
    (attempt,) = world.try_reserve("a", force=True)
    assert attempt.number == 2


# ---- leases


def test_reservation_of_a_living_run_is_nobody_elses(world: World) -> None:
    world.register("a")
    (attempt,) = world.try_reserve("a", owner="run 1")
    assert not world.begin_submit(attempt.attempt_id, "run 2")
    world.clock.turn(LEASE_S)
    assert not world.begin_submit(attempt.attempt_id, "run 2")
    assert world.begin_submit(attempt.attempt_id, "run 1")


def test_reservation_of_a_dead_run_is_free_when_its_lease_is_over(world: World) -> None:
    world.register("a")
    (attempt,) = world.try_reserve("a", owner="run 1")
    world.clock.turn(LEASE_S + 1)
    world.attempts.claim([attempt.attempt_id], "run 2", LEASE_S)
    assert world.attempts.get(attempt.attempt_id).lease.owner == "run 2"
    assert not world.begin_submit(attempt.attempt_id, "run 1")
    assert world.begin_submit(attempt.attempt_id, "run 2")


def test_reservation_without_an_owner_is_anybodys(world: World) -> None:
    world.register("a")
    assert world.begin_submit(world.reserved(), "whoever comes first")


def test_heartbeat_keeps_a_reservation(world: World) -> None:
    world.register("a")
    (attempt,) = world.try_reserve("a", owner="run 1")
    for _ in range(5):
        world.clock.turn(LEASE_S - 1)
        world.attempts.heartbeat("run 1", LEASE_S)
    assert not world.begin_submit(attempt.attempt_id, "run 2")


def test_claim_takes_nothing_from_a_living_run(world: World) -> None:
    world.register("a", "b")
    (mine,) = world.try_reserve("a", owner="run 1")
    (free,) = world.try_reserve("b")
    world.attempts.claim([mine.attempt_id, free.attempt_id], "run 2", LEASE_S)
    assert world.attempts.get(mine.attempt_id).lease.owner == "run 1"
    assert world.attempts.get(free.attempt_id).lease.owner == "run 2"


def test_more_time_for_a_queued_run_is_not_for_the_one_that_died(world: World) -> None:
    world.register("a", "b")
    (dead,) = world.try_reserve("a", owner="run 1")
    world.clock.turn(LEASE_S + 1)
    (alive,) = world.try_reserve("b", owner="run 3")
    world.attempts.extend([dead.attempt_id, alive.attempt_id], LEASE_S)
    assert world.begin_submit(dead.attempt_id, "run 2")
    assert not world.begin_submit(alive.attempt_id, "run 2")


# ---- lost answers


def test_lost_answer_is_parked_and_never_sent_again_by_itself(world: World) -> None:
    world.register("a")
    attempt_id = world.ambiguous()
    world.clock.turn(365 * 86400)
    assert world.pending() == []
    assert world.try_reserve("a", force=True) == []
    assert not world.begin_submit(attempt_id)
    assert not world.attempts.withdraw(attempt_id, "connect", "refused")
    assert not world.attempts.release(attempt_id)


def test_answer_that_came_after_all_wins_over_a_park(world: World) -> None:
    world.register("a")
    attempt_id = world.ambiguous()
    assert world.accept(attempt_id)
    attempt = world.attempts.get(attempt_id)
    assert attempt.state is AttemptState.IN_FLIGHT
    assert attempt.submission.prediction_id is not None
    assert attempt.failure is None


def test_park_does_not_win_over_an_answer(world: World) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    assert not world.attempts.park_ambiguous(attempt_id, "ambiguous_submit", "lost")
    assert world.state(attempt_id) == "in_flight"


def test_video_of_a_parked_and_reported_submit_is_still_fetched(world: World) -> None:
    """The run that parked it has shown a failure; the success that came of it has not been shown."""
    world.register("a")
    attempt_id = world.ambiguous()
    world.attempts.report([attempt_id])
    world.accept(attempt_id)
    world.succeed(attempt_id)
    assert world.unreported() == [attempt_id]


def test_submit_is_accepted_once(world: World) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    assert not world.accept(attempt_id)


# ---- polling


def test_predictions_are_due_oldest_first_and_not_before_their_time(world: World) -> None:
    world.register("a", "b", "c")
    first = world.in_flight("b")
    world.clock.turn(1)
    second = world.in_flight("a")
    assert world.due(10) == []
    world.clock.turn(POLL_S)
    world.in_flight("c")
    assert world.due(10) == [first, second]
    assert world.due(1) == [first]


def test_unfinished_prediction_is_due_again_later(world: World) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    world.clock.turn(POLL_S)
    assert world.attempts.still_running(attempt_id, "processing", 30)
    assert world.attempts.still_running(attempt_id, None, 30, empty=True)
    attempt = world.attempts.get(attempt_id)
    polling = attempt.polling
    assert (polling.polls, polling.empty_polls, polling.provider_status) == (2, 1, "processing")
    assert world.due(10) == []
    world.clock.turn(30)
    assert len(world.due(10)) == 1


def test_late_news_of_a_poll_change_nothing_once_the_attempt_has_ended(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    assert not world.attempts.still_running(attempt_id, "processing", 30)
    assert not world.attempts.time_out(attempt_id, "late")
    assert not world.attempts.fail(attempt_id, "late", "late", retryable=True, reported=False)
    assert not world.succeed(attempt_id)
    assert world.state(attempt_id) == "collected"


def test_timed_out_prediction_keeps_its_id_and_blocks_a_new_payment(world: World) -> None:
    world.register("a")
    attempt_id = world.timed_out()
    assert world.attempts.get(attempt_id).submission.prediction_id == f"prediction-{attempt_id}"
    assert world.pending() == []
    assert world.try_reserve("a", force=True) == []


def test_timed_out_prediction_is_resumed_with_a_new_deadline_and_polled_at_once(world: World) -> None:
    world.register("a")
    attempt_id = world.timed_out()
    world.attempts.report([attempt_id])
    assert world.attempts.resume(attempt_id, 600)
    attempt = world.attempts.get(attempt_id)
    assert attempt.state is AttemptState.IN_FLIGHT
    assert attempt.polling.deadline_at == world.clock() + timedelta(seconds=600)
    assert (attempt.failure, attempt.reported_at) == (None, None)
    assert world.due(1) == [attempt_id]
    assert not world.attempts.resume(attempt_id, 600)


def test_report_of_a_time_out_that_was_resumed_meanwhile_hides_nothing(world: World) -> None:
    """A run shows at its end what timed out at its beginning; a person's retry came between."""
    world.register("a")
    attempt_id = world.timed_out()
    assert world.attempts.resume(attempt_id, 600)
    world.attempts.report([attempt_id])
    assert world.succeed(attempt_id)
    world.attempts.report([attempt_id])
    assert world.unreported() == [attempt_id]


def test_what_ended_for_how_it_stood_goes_on_where_it_stands_so_no_more(world: World) -> None:
    """An answer that was taken for lost, and came; a reservation that another run has sent since."""
    world.register("late", "sent")
    late, sent = world.ambiguous("late"), world.reserved("sent")
    assert world.accept(late)
    assert world.begin_submit(sent)
    ended = {"retryable": False, "reported": True}
    assert not world.attempts.fail(late, "oops", "given up", leaving=[AttemptState.AMBIGUOUS], **ended)
    assert not world.attempts.fail(sent, "oops", "terminated", leaving=[AttemptState.RESERVED], **ended)
    assert (world.state(late), world.state(sent)) == ("in_flight", "submitting")


def test_lost_file_is_not_fetched_again_while_its_clip_is_made_anew(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    anew = world.reserved(force=True)
    assert not world.attempts.fetch_lost(attempt_id)
    assert world.attempts.release(anew)
    assert world.attempts.fetch_lost(attempt_id)


def test_lost_file_is_fetched_again_although_a_later_attempt_has_failed(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    world.failed(retryable=False, force=True)
    assert world.attempts.fetch_lost(attempt_id)
    assert world.unreported() == [attempt_id]
    latest = world.standing().latest
    assert latest is not None
    assert latest.attempt_id == attempt_id
    assert world.try_reserve("a", force=True) == []
    assert world.attempts.collect(attempt_id, VIDEO, run_id="run")
    assert world.unreported() == []


def test_success_after_a_reported_time_out_is_news(world: World) -> None:
    world.register("a")
    attempt_id = world.timed_out()
    world.attempts.report([attempt_id])
    assert world.unreported() == []
    assert world.succeed(attempt_id)
    assert world.unreported() == [attempt_id]


def test_fresh_url_of_a_reported_success_is_no_news(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.attempts.give_up_fetching([attempt_id])
    assert world.succeed(attempt_id, "https://example.com/fresh.mp4")
    assert world.attempts.get(attempt_id).result.output_url == "https://example.com/fresh.mp4"
    assert world.unreported() == []


def test_model_the_provider_named_is_kept_where_a_later_answer_names_none(world: World) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    answers = {"output_url": "u", "expires_at": None, "provider_status": "completed"}
    assert world.attempts.succeed(attempt_id, **answers, model_returned="sora-2-mini")
    assert world.attempts.succeed(attempt_id, **answers, model_returned=None)
    assert world.attempts.get(attempt_id).submission.model_returned == "sora-2-mini"


# ---- collecting


def test_video_is_claimed_by_one_owner_only(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    assert world.attempts.claim_collect(attempt_id, "run 1", LEASE_S)
    assert not world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)
    assert world.attempts.claim_collect(attempt_id, "run 1", LEASE_S)


def test_released_video_can_be_claimed_by_another(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.attempts.claim_collect(attempt_id, "run 1", LEASE_S)
    world.attempts.release_collect(attempt_id, "run 2")
    assert not world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)
    world.attempts.release_collect(attempt_id, "run 1")
    assert world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)


def test_claim_of_a_dead_collector_runs_out(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.attempts.claim_collect(attempt_id, "run 1", LEASE_S)
    world.clock.turn(LEASE_S + 1)
    assert world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)


def test_expected_collector_need_not_wait_for_the_one_that_died(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.attempts.claim_collect(attempt_id, "run 1", LEASE_S)
    world.clock.turn(LEASE_S + 1)
    world.attempts.expect_collect([attempt_id], LEASE_S)
    assert world.attempts.get(attempt_id).result.collect_tries == 1
    assert world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)


def test_expecting_a_collector_takes_nothing_from_one_at_work(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.attempts.claim_collect(attempt_id, "run 1", LEASE_S)
    world.attempts.expect_collect([attempt_id], LEASE_S)
    assert not world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)


def test_video_is_collected_once(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    assert not world.attempts.collect(attempt_id, VIDEO, run_id="run 2")
    assert not world.attempts.claim_collect(attempt_id, "run 2", LEASE_S)
    assert world.attempts.get(attempt_id).run_id == "run"


def test_wrong_video_is_kept_paid_and_not_delivered(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    assert world.attempts.keep_rejected(attempt_id, VIDEO, run_id="run", kind="wrong_size", message="no")
    attempt = world.attempts.get(attempt_id)
    assert (attempt.state, attempt.result.video) == ("failed", VIDEO)
    assert attempt.failure == Failure("wrong_size", "no", retryable=False)
    assert world.standing("a").delivered is None
    assert world.committed() == Decimal(1)
    assert world.pending() == []


# ---- what no run has shown yet


@pytest.mark.parametrize("state", ["succeeded", "timed_out"])
def test_ended_prediction_is_unreported_until_a_run_shows_it(world: World, state: str) -> None:
    world.register("a")
    attempt_id = world.at(state)
    assert world.unreported() == [attempt_id]
    world.attempts.report([attempt_id])
    assert (world.unreported() == []) is (state == "timed_out")
    world.attempts.give_up_fetching([attempt_id])
    assert world.unreported() == []


def test_late_failure_is_unreported_and_an_early_one_is_its_own_runs_affair(world: World) -> None:
    world.register("late", "early", "shown")
    late = world.in_flight("late")
    world.attempts.fail(late, "oops", "late", retryable=True, reported=False)
    early = world.submitting("early")
    world.attempts.fail(early, "oops", "refused", retryable=False, reported=False)
    world.failed("shown", retryable=True)
    assert world.unreported() == [late]


@pytest.mark.parametrize("state", ["reserved", "submitting", "in_flight", "ambiguous", "collected"])
def test_nothing_is_to_be_shown_of_these(world: World, state: str) -> None:
    world.register("a")
    world.at(state)
    assert world.unreported() == []


def test_attempt_for_which_a_run_is_on_its_way_is_left_to_it(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.attempts.expect_collect([attempt_id], LEASE_S)
    assert world.unreported() == []
    world.clock.turn(LEASE_S + 1)
    assert world.unreported() == [attempt_id]


# ---- questions


def test_live_attempts_are_listed_by_state_and_pipeline(world: World, neighbour: World) -> None:
    world.register("a", "b", "c")
    a, b = world.in_flight("a"), world.in_flight("b")
    c = world.reserved("c")
    live = partial(world.attempts.live, pipeline=world.pipeline)
    assert [each.attempt_id for each in live(AttemptState.IN_FLIGHT)] == [a, b]
    both = live(AttemptState.IN_FLIGHT, AttemptState.RESERVED)
    assert [each.attempt_id for each in both] == [a, b, c]
    assert live(AttemptState.AMBIGUOUS) == []
    of_all = {each.attempt_id for each in world.attempts.live(*LIVE_STATES)}
    theirs = {each.attempt_id for each in neighbour.all_attempts() if each.live}
    assert of_all == {a, b, c} | theirs


def test_naive_time_is_refused_instead_of_guessed(world: World, clock: Clock) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    naive = clock().replace(tzinfo=None)
    with pytest.raises(Exception, match="has no time zone"):
        world.attempts.succeed(
            attempt_id, output_url="u", expires_at=naive, provider_status="completed", model_returned=None
        )
