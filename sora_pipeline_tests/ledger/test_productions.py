"""Productions: what was asked for, what was read, and what of it is published."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState, Ledger, OvertakenError, Plan, Production
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline_tests.conftest import refusal
from sora_pipeline_tests.ledger.world import LEASE_S, SANDBOX, Clock, World, clip, reading


def plan(
    name: str = "campaign", *, budget: float | None = None, given: bool = False, pipeline: str = ""
) -> Plan:
    limit = None if budget is None else Decimal(str(budget))
    return Plan(name, pipeline, f"/in/{name}.csv", f"/out/{name}", SANDBOX, limit, given)


def read(ledger: Ledger, name: str = "campaign", *, budget: float | None = None) -> Production:
    return ledger.productions.record_snapshot(plan(name, budget=budget), reading([], ledger.now()))


def test_production_is_its_name_wherever_its_files_are(ledger: Ledger) -> None:
    first = ledger.productions.request(plan())
    moved = replace(plan(), manifest_uri="/in/tuesday.csv", output_uri="/elsewhere")
    second = ledger.productions.request(moved)
    assert second.production_id == first.production_id
    assert (second.manifest_uri, second.output_uri) == ("/in/tuesday.csv", "/elsewhere")
    assert ledger.productions.request(plan("another")).production_id != first.production_id
    assert len(ledger.productions.all()) == 2


def test_name_of_another_pipelines_production_is_refused_and_nothing_changes(ledger: Ledger) -> None:
    productions = ledger.productions
    before = read(ledger)
    theirs = plan(pipeline="beside")
    for attempt in (
        lambda: productions.request(theirs),
        lambda: productions.record_snapshot(theirs, reading([clip("a")], ledger.now())),
        lambda: productions.record_amendments(
            theirs, "/f.csv", [clip("a")], invalid={}, began_at=ledger.now()
        ),
    ):
        with pytest.raises(
            LedgerError, match=r"campaign belongs to the built-in pipeline.*not to the pipeline beside"
        ):
            attempt()
    assert productions.get("campaign") == before
    assert ledger.clips.of_production("campaign") == []


def test_reading_that_a_later_one_has_overtaken_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    productions = ledger.productions
    began_at = clock()
    clock.turn(5)
    mended = productions.record_snapshot(plan(), reading([clip("a", "mended")], clock()))
    with pytest.raises(OvertakenError, match=r"/in/campaign.csv was read, or asked for, once more"):
        productions.record_snapshot(plan(), reading([clip("a", "old"), clip("b")], began_at))
    assert productions.get("campaign") == mended
    assert [each.prompt for each in ledger.clips.of_production("campaign")] == ["mended"]


@pytest.mark.parametrize("file", ["/in/campaign.csv", "/out/campaign/failed.csv"])
def test_reading_counts_no_more_once_the_same_file_was_asked_for_again(
    ledger: Ledger, clock: Clock, file: str
) -> None:
    productions = ledger.productions
    began_at = clock()
    clock.turn(5)
    productions.request(plan(), file, wanted=[clip("a", "mended")])
    old = reading([clip("a", "old")], began_at)
    if file == plan().manifest_uri:
        with pytest.raises(OvertakenError):
            productions.record_snapshot(plan(), old)
        assert ledger.clips.of_production("campaign") == []
    else:
        productions.record_snapshot(plan(), old)  # mended rows are read on top of it
    assert [each.production_id for each in productions.requested("")] == ["campaign"]


def test_mended_rows_are_read_again_where_a_later_reading_stands_and_hold_none_back(
    ledger: Ledger, clock: Clock
) -> None:
    productions = ledger.productions
    read(ledger)
    began_at = clock()
    clock.turn(5)
    mended = productions.record_amendments(
        plan(), "/f.csv", [clip("a", "mended")], invalid={}, began_at=clock()
    )
    productions.record_snapshot(plan(), reading([clip("b")], began_at))
    assert productions.get("campaign").read_at == mended.read_at, "it is not put back"
    with pytest.raises(OvertakenError, match=r"/f.csv"):
        productions.record_amendments(plan(), "/f.csv", [clip("a", "older")], invalid={}, began_at=began_at)


def test_clock_that_ran_ahead_holds_no_later_reading_back(ledger: Ledger, clock: Clock) -> None:
    clock.turn(3600)
    read(ledger)
    clock.turn(-3600)
    again = ledger.productions.record_snapshot(plan(), reading([clip("a")], clock()))
    assert again.snapshot_began_at == again.read_at == clock()


def test_name_that_nobody_gave_is_taken_by_one_manifest_only(ledger: Ledger) -> None:
    """Two terminals, one file name in two folders: both had looked before either asked."""
    productions = ledger.productions
    mine = replace(plan(), named=False)
    theirs = replace(mine, manifest_uri="/elsewhere/campaign.csv")
    before = productions.request(mine)
    for attempt in (
        lambda: productions.request(theirs),
        lambda: productions.record_snapshot(theirs, reading([clip("a")], ledger.now())),
    ):
        with refusal(LedgerError, r"is made from /in/campaign.csv since a moment ago, and this is .*--name"):
            attempt()
    assert productions.get("campaign") == before
    assert productions.request(replace(theirs, named=True)).manifest_uri == theirs.manifest_uri


@pytest.mark.parametrize("asked_for", [False, True], ids=["scheduled", "asked for"])
def test_copy_that_is_read_beside_its_original_is_paid_for_only_where_somebody_named_it(
    ledger: Ledger, clock: Clock, *, asked_for: bool
) -> None:
    """Neither had any clips when the other one looked."""
    productions = ledger.productions
    monday, copy = (replace(plan(name), named=False) for name in ("monday", "copy"))
    clips = [clip("a"), clip("b")]
    for each in (monday, copy):
        productions.require_paid_once(each, clips)
    if asked_for:
        for each in (monday, copy):
            productions.request(each)
        # A run that reads what was asked for is told the name.
        monday, copy = replace(monday, named=True), replace(copy, named=True)
    productions.record_snapshot(monday, reading(clips, clock()))
    said = r"2 clips of /in/copy.csv are paid for already, or are going to be, in the production monday.*--name copy"
    with refusal(LedgerError, said):
        productions.record_snapshot(copy, reading(clips, clock()))
    assert ledger.clips.of_production("copy") == []
    with refusal(LedgerError, said):
        productions.require_paid_once(replace(copy, named=False), clips)
    named = replace(copy, named=True)
    productions.require_paid_once(named, clips)
    productions.request(named)
    productions.record_snapshot(named, reading(clips, clock()))
    productions.record_snapshot(replace(named, named=False), reading(clips, clock()))  # said once is enough
    assert len(ledger.clips.of_production("copy")) == 2


def test_productions_are_found_by_pipeline_manifest_and_output(ledger: Ledger, clock: Clock) -> None:
    productions = ledger.productions
    read(ledger)
    productions.record_snapshot(plan("theirs", pipeline="beside"), reading([], clock()))
    productions.request(plan("asked", pipeline="beside"))
    names = [
        [each.production_id for each in productions.all(pipeline)] for pipeline in (None, "", "beside", "no")
    ]
    assert [set(each) for each in names] == [
        {"campaign", "theirs", "asked"},
        {"campaign"},
        {"theirs", "asked"},
        set(),
    ]
    assert [each.production_id for each in productions.of_manifest("/in/theirs.csv", "beside")] == ["theirs"]
    assert productions.of_manifest("/in/theirs.csv", "") == []
    assert [each.production_id for each in productions.of_output("/out/campaign")] == ["campaign"]
    assert [each.production_id for each in productions.requested("beside")] == ["asked"]
    assert productions.requested("") == []
    assert [each.production_id for each in productions.unpublished("beside")] == ["theirs"]
    since = clock() - timedelta(days=1)
    assert [each.production_id for each in ledger.notifications.unnotified(since, "")] == ["campaign"]


@pytest.mark.parametrize("state", AttemptState)
def test_nobody_is_told_of_a_production_that_is_at_work(ledger: Ledger, clock: Clock, state: str) -> None:
    world, other = World(ledger, clock), World(ledger, clock, name="other")
    for each in (world, other):
        each.register("a")
    world.at(state)
    told = ledger.notifications.unnotified(clock() - timedelta(days=1), "")
    working = state in ("reserved", "submitting", "in_flight", "succeeded")
    assert ["campaign" in [each.production_id for each in told]] == [not working]
    assert "other" in [each.production_id for each in told]


# ---- what it may cost

LIMITS = [
    ("the settings' holds where nobody gave one", [(5, False)], 5, False),
    ("the settings' newest holds", [(5, False), (7, False)], 7, False),
    ("without one in the settings it stays", [(5, False), (None, False)], 5, False),
    ("a person's takes the place of the settings'", [(5, False), (3, True)], 3, True),
    ("the settings never replace a person's", [(3, True), (50, False)], 3, True),
    ("nor does their silence", [(3, True), (None, False), (9, False)], 3, True),
    ("a person's newest holds", [(3, True), (9, False), (4, True)], 4, True),
    (
        "a person may take it away, and the settings do not bring it back",
        [(3, True), "lift", (9, False)],
        None,
        True,
    ),
    ("a person may give one again", [(3, True), "lift", (9, False), (2, True)], 2, True),
    ("none at all", [(None, False)], None, False),
]


@pytest.mark.parametrize("how", ["request", "record_snapshot", "record_amendments", "record_problem"])
@pytest.mark.parametrize(
    ("steps", "limit", "given"), [each[1:] for each in LIMITS], ids=[each[0] for each in LIMITS]
)
def test_spending_limit_holds_until_it_is_changed_on_purpose(
    ledger: Ledger, how: str, steps: list[Any], limit: int | None, given: bool
) -> None:
    productions = ledger.productions
    for step in steps:
        if step == "lift":
            productions.set_budget("campaign", None)
            continue
        wanted = plan(budget=step[0], given=step[1])
        match how:
            case "request":
                productions.request(wanted)
            case "record_snapshot":
                productions.record_snapshot(wanted, reading([], ledger.now()))
            case "record_amendments":
                productions.record_amendments(wanted, "/f.csv", [], invalid={}, began_at=ledger.now())
            case _:
                productions.request(wanted)
                productions.record_problem("campaign", "oops")
    found = productions.get("campaign")
    assert (found.budget_usd, found.budget_given) == (limit, given)


# ---- asking and reading


def test_production_is_requested_until_its_manifest_is_read(ledger: Ledger, clock: Clock) -> None:
    asked = ledger.productions.request(plan(budget=12.34, given=True))
    assert asked.budget_usd == Decimal("12.34")
    assert asked.requested_manifest == "/in/campaign.csv"
    assert [each.production_id for each in ledger.productions.requested("")] == [asked.production_id]
    clock.turn(1)
    read(ledger)
    assert ledger.productions.requested("") == []
    clock.turn(1)
    assert ledger.productions.request(plan(), "/out/failed.csv").requested_manifest == "/out/failed.csv"
    assert len(ledger.productions.requested("")) == 1


def test_production_that_nobody_asked_for_is_not_requested(ledger: Ledger) -> None:
    read(ledger)
    assert ledger.productions.requested("") == []


def test_unreadable_manifest_answers_the_request_with_its_problem(ledger: Ledger, clock: Clock) -> None:
    ledger.productions.request(plan())
    clock.turn(1)
    ledger.productions.record_problem("campaign", "row 3 has no prompt")
    assert ledger.productions.requested("") == []
    found = ledger.productions.find("campaign")
    assert found is not None
    assert found.error == "row 3 has no prompt"
    assert ledger.productions.unpublished("") == []
    ledger.productions.request(plan())
    assert ledger.productions.get(found.production_id).error is None


def test_reading_counts_and_makes_the_output_manifest_out_of_date(ledger: Ledger) -> None:
    first, second = read(ledger), read(ledger)
    assert (first.read_at, second.read_at) == (ledger.now(), ledger.now())
    assert second.change_seq > first.change_seq
    assert [each.production_id for each in ledger.productions.unpublished("")] == [first.production_id]


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
    assert productions.unpublished("") == []
    world.register("a")
    world.submitting()
    assert len(productions.unpublished("")) == 1


def test_change_while_publishing_is_published_next(world: World) -> None:
    productions = world.ledger.productions
    world.register("a")
    seen = productions.get(world.production_id).change_seq
    world.submitting()
    assert productions.record_published(world.production_id, seen, "run")
    assert len(productions.unpublished("")) == 1


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
    first = read(ledger, "first").production_id
    clock.turn(1)
    second = read(ledger, "second").production_id
    assert [each.production_id for each in ledger.productions.all()] == [second, first]
    clock.turn(1)
    ledger.productions.request(plan("first"))
    assert [each.production_id for each in ledger.productions.all()] == [first, second]


def test_unknown_production_is_a_key_error_and_found_as_none(ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        ledger.productions.get("nobody")
    assert ledger.productions.find("nobody") is None


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
    attempts.give_up_fetching([attempt_id])
    assert [each.production_id for each in productions.unpublished("")] == [world.production_id]
