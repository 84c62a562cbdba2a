"""Productions: what was asked for, what was read, and what of it is published."""

from decimal import Decimal

import pytest

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline_tests.ledger.world import LEASE_S, Clock, World

MANIFEST, OUTPUT = "/in/manifest.csv", "/out"


def read(ledger: Ledger, *, budget: Decimal | None = None, output: str = OUTPUT) -> Production:
    return ledger.productions.record_snapshot(
        MANIFEST,
        output,
        snapshot_path="/out/snapshot.parquet",
        manifest_sha256="0" * 64,
        snapshot_sha256="1" * 64,
        budget_usd=budget,
    )


def test_same_manifest_into_the_same_output_is_the_same_production(ledger: Ledger) -> None:
    first = ledger.productions.request(MANIFEST, OUTPUT, None)
    assert ledger.productions.request(MANIFEST, OUTPUT, None).production_id == first.production_id
    assert ledger.productions.request(MANIFEST, "/elsewhere", None).production_id != first.production_id
    assert len(ledger.productions.all()) == 2


def test_production_is_requested_until_its_manifest_is_read(ledger: Ledger, clock: Clock) -> None:
    asked = ledger.productions.request(MANIFEST, OUTPUT, Decimal("12.34"))
    assert asked.budget_usd == Decimal("12.34")
    assert [each.production_id for each in ledger.productions.requested()] == [asked.production_id]
    clock.turn(1)
    read(ledger)
    assert ledger.productions.requested() == []
    clock.turn(1)
    ledger.productions.request(MANIFEST, OUTPUT, None)
    assert len(ledger.productions.requested()) == 1


def test_production_that_nobody_asked_for_is_not_requested(ledger: Ledger) -> None:
    read(ledger)
    assert ledger.productions.requested() == []


def test_unreadable_manifest_answers_the_request_with_its_problem(ledger: Ledger, clock: Clock) -> None:
    ledger.productions.request(MANIFEST, OUTPUT, None)
    clock.turn(1)
    ledger.productions.record_problem(MANIFEST, OUTPUT, "row 3 has no prompt")
    assert ledger.productions.requested() == []
    found = ledger.productions.find(MANIFEST, OUTPUT)
    assert found is not None
    assert found.error == "row 3 has no prompt"
    assert ledger.productions.unpublished() == []
    ledger.productions.request(MANIFEST, OUTPUT, None)
    assert ledger.productions.get(found.production_id).error is None


def test_reading_counts_and_makes_the_output_manifest_out_of_date(ledger: Ledger) -> None:
    first, second = read(ledger), read(ledger)
    assert (first.sequence, second.sequence) == (1, 2)
    assert second.change_seq > first.change_seq
    assert [each.production_id for each in ledger.productions.unpublished()] == [first.production_id]


def test_every_step_of_an_attempt_makes_the_output_manifest_out_of_date(world: World) -> None:
    world.register("a")
    productions = world.ledger.productions
    seen = [productions.get(world.production_id).change_seq]
    attempt_id = world.reserved()
    for step in (world.begin_submit, world.accept, world.succeed):
        assert step(attempt_id)
        seen.append(productions.get(world.production_id).change_seq)
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)


def test_published_state_is_up_to_date_until_the_next_change(world: World) -> None:
    productions = world.ledger.productions
    seen = productions.get(world.production_id).change_seq
    assert productions.record_published(world.production_id, seen, "run")
    assert productions.unpublished() == []
    world.register("a")
    world.submitting()
    assert len(productions.unpublished()) == 1


def test_change_while_publishing_is_published_next(world: World) -> None:
    productions = world.ledger.productions
    world.register("a")
    seen = productions.get(world.production_id).change_seq
    world.submitting()
    assert productions.record_published(world.production_id, seen, "run")
    assert len(productions.unpublished()) == 1


def test_older_state_never_replaces_a_newer_one(world: World) -> None:
    productions = world.ledger.productions
    assert productions.record_published(world.production_id, 7, "run 2")
    assert not productions.record_published(world.production_id, 6, "run 1")
    assert not productions.record_published(world.production_id, 7, "run 1")
    assert productions.get(world.production_id).published_seq == 7


def test_one_run_publishes_at_a_time(world: World) -> None:
    productions, identity = world.ledger.productions, world.production_id
    assert productions.claim_publish(identity, "run 1", LEASE_S)
    assert not productions.claim_publish(identity, "run 2", LEASE_S)
    productions.record_published(identity, 1, "run 2")
    assert not productions.claim_publish(identity, "run 2", LEASE_S)
    productions.record_published(identity, 2, "run 1")
    assert productions.claim_publish(identity, "run 2", LEASE_S)
    world.clock.turn(LEASE_S + 1)
    assert productions.claim_publish(identity, "run 3", LEASE_S)


def test_production_read_last_comes_first(ledger: Ledger, clock: Clock) -> None:
    first = read(ledger, output="/first").production_id
    clock.turn(1)
    second = read(ledger, output="/second").production_id
    assert [each.production_id for each in ledger.productions.all()] == [second, first]
    clock.turn(1)
    ledger.productions.request(MANIFEST, "/first", None)
    assert [each.production_id for each in ledger.productions.all()] == [first, second]


def test_unknown_production_is_a_key_error_and_found_as_none(ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        ledger.productions.get("nobody")
    assert ledger.productions.find("/no", "/where") is None


def test_each_request_of_a_batchs_run_has_its_own_number(world: World) -> None:
    world.register("a")
    world.reserved()
    assert world.ledger.batches.tries("batch") == 0
    assert [world.ledger.batches.next_try("batch") for _ in range(3)] == [1, 2, 3]
    assert world.ledger.batches.tries("batch") == 3


def test_open_breaker_keeps_its_time_and_shows_the_newest_reason(ledger: Ledger, clock: Clock) -> None:
    ledger.breakers.open("sandbox", "no_balance", "top up")
    opened_at = clock()
    clock.turn(60)
    ledger.breakers.open("sandbox", "bad_token", "later")
    breaker = ledger.breakers.get("sandbox")
    assert breaker is not None
    assert (breaker.kind, breaker.opened_at) == ("bad_token", opened_at)
    assert ledger.breakers.get("another") is None
    assert ledger.breakers.close("sandbox")
    assert not ledger.breakers.close("sandbox")


def test_open_breaker_lets_one_probe_through_at_a_time_and_waits_longer_after_each(
    ledger: Ledger, clock: Clock
) -> None:
    assert not ledger.breakers.begin_probe("sandbox", "early")
    ledger.breakers.open("sandbox", "no_balance", "top up")
    waits = []
    for number in range(6):
        breaker = ledger.breakers.get("sandbox")
        assert breaker is not None
        waits.append((breaker.probe_at - clock()).total_seconds())
        clock.turn(waits[-1] - 1)
        assert not ledger.breakers.begin_probe("sandbox", "too early")
        clock.turn(1)
        assert ledger.breakers.begin_probe("sandbox", f"batch-{number}")
        assert not ledger.breakers.begin_probe("sandbox", "another daemon's")
        probing = ledger.breakers.get("sandbox")
        assert probing is not None
        assert (probing.probe_batch, probing.probes) == (f"batch-{number}", number + 1)
    assert waits == [300, 600, 1200, 2400, 3600, 3600]
    assert ledger.breakers.close("sandbox")
    assert ledger.breakers.closed_at("sandbox") == clock()
    ledger.breakers.open("sandbox", "no_balance", "again")
    fresh = ledger.breakers.get("sandbox")
    assert fresh is not None
    assert (fresh.probes, fresh.probe_batch) == (0, None)


def test_video_that_is_given_up_makes_the_output_manifest_out_of_date(world: World) -> None:
    """Until then it is shown as in flight; from then on as failed, and nothing else happens to it."""
    productions, attempts = world.ledger.productions, world.ledger.attempts
    world.register("a")
    attempt_id = world.reserved()
    assert world.begin_submit(attempt_id)
    assert world.accept(attempt_id)
    assert world.succeed(attempt_id)
    productions.record_published(world.production_id, productions.get(world.production_id).change_seq, "run")
    attempts.report([attempt_id])
    assert [each.production_id for each in productions.unpublished()] == [world.production_id]
