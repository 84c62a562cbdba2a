"""Two productions and two accounts in one ledger: they share it, and nothing else."""

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import select, update

from sora_pipeline.advice import explained
from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.ledger import Account, AttemptState, Ledger, Limits
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.ledger.made_elsewhere import made_elsewhere
from sora_pipeline.ledger.restore import LedgerContents, RestoredClip
from sora_pipeline.ledger.rows import attempt_of, row_of, spec_of
from sora_pipeline.ledger.schema import attempts as attempts_table
from sora_pipeline.ledger.schema import clips as clips_table
from sora_pipeline.ledger.types import LIVE_STATES, Failure
from sora_pipeline_tests.ledger.world import (
    DEADLINE_S,
    DOLLAR,
    POLL_S,
    REAL,
    SANDBOX,
    SECOND,
    Clock,
    World,
    clip,
)


@pytest.fixture
def monday(ledger: Ledger, clock: Clock) -> World:
    world = World(ledger, clock, name="monday", account=REAL)
    world.register("a", "b", "c")
    return world


@pytest.fixture
def tuesday(ledger: Ledger, clock: Clock) -> World:
    """The same clip ids, in another pipeline, at another account."""
    world = World(ledger, clock, name="tuesday", pipeline="beside", account=SECOND)
    world.register("a", "b", "c")
    return world


def test_slots_of_an_account_are_not_another_ones(monday: World, tuesday: World) -> None:
    monday.limits = tuesday.limits = Limits(max_in_flight=2, max_attempts=3)
    assert len(monday.try_reserve("a", "b", "c")) == 2
    assert len(tuesday.try_reserve("a", "b", "c")) == 2
    assert (monday.slots_taken(), tuesday.slots_taken()) == (2, 2)


def test_accounts_that_are_not_configured_take_no_slots_of_another(monday: World) -> None:
    """A production goes to another account with its old one full, and gets on."""
    monday.limits = Limits(max_in_flight=1, max_attempts=3)
    stays = monday.in_flight("a")
    monday.account = SECOND
    monday.register("a", "b", "c")
    (attempt,) = monday.try_reserve("b")
    assert attempt.account == SECOND
    assert monday.attempts.get(stays).account == REAL
    assert monday.standing("a").latest is not None
    assert monday.pending() == ["c"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("wrong", [SECOND, SANDBOX, replace(REAL, simulated=True)])
def test_clip_is_reserved_for_its_productions_account_and_for_no_other(
    monday: World, wrong: Account, force: bool
) -> None:
    found = monday.reserve({"a": DOLLAR}, account=wrong, force=force)
    assert (found.reserved, found.elsewhere) == ([], ["monday:a"])
    assert monday.all_attempts() == []


@pytest.mark.parametrize("real", [REAL, replace(SANDBOX, simulated=False)])
def test_simulated_production_is_never_reserved_for_a_real_account(
    ledger: Ledger, clock: Clock, real: Account
) -> None:
    world = World(ledger, clock, account=SANDBOX)
    world.register("a")
    assert world.reserve({"a": DOLLAR}, account=real, force=True).elsewhere == ["campaign:a"]


def test_clip_of_the_other_kind_is_reserved_for_nobody(monday: World) -> None:
    """As a ledger of an earlier version may hold it: what it asks for is not what would be paid."""
    with monday.ledger.database.write() as connection:
        mine = clips_table.c.clip_key == monday.key("a")
        connection.execute(update(clips_table).where(mine).values(spec=spec_of(clip("a", simulated=True))))
    found = monday.reserve({"a": DOLLAR, "b": DOLLAR}, force=True)
    assert ([each.clip_id for each in found.reserved], found.elsewhere) == (["b"], ["monday:a"])


def test_pending_clips_are_told_by_pipeline_and_account(monday: World, tuesday: World) -> None:
    clips = monday.ledger.clips
    assert clips.pending(3) == [*monday.keys("a", "b", "c"), *tuesday.keys("a", "b", "c")]
    assert clips.pending(3, pipeline="beside") == tuesday.keys("a", "b", "c")
    assert clips.pending(3, pipeline="", account=REAL.name) == monday.keys("a", "b", "c")
    assert clips.pending(3, pipeline="", account=SECOND.name) == []


def test_predictions_are_due_at_their_own_account_only(monday: World, tuesday: World) -> None:
    mine, theirs = monday.in_flight(), tuesday.in_flight()
    monday.clock.turn(POLL_S)
    due = monday.attempts.due
    assert [each.attempt_id for each in due(9, account=REAL.name)] == [mine]
    assert [each.attempt_id for each in due(9, account=SECOND.name)] == [theirs]
    assert due(9, account=REAL.name, pipeline="beside") == []


def test_predictions_elsewhere_stay_findable_and_are_overdue_at_their_deadline(
    monday: World, tuesday: World
) -> None:
    strayed, theirs = monday.in_flight("a"), tuesday.in_flight("a")
    monday.succeeded("b")
    overdue = partial(monday.attempts.overdue_elsewhere, limit=500)
    assert overdue(SECOND.name, "") == []
    monday.clock.turn(DEADLINE_S + 1)
    assert [each.attempt_id for each in overdue(SECOND.name, "")] == [strayed]
    assert [each.attempt_id for each in overdue(REAL.name, "beside")] == [theirs]
    assert overdue(REAL.name, "") == []
    assert monday.attempts.open_accounts() == {REAL: 2, SECOND: 1}
    assert monday.attempts.open_accounts(pipeline="beside") == {SECOND: 1}
    assert monday.attempts.open_accounts(production_id="monday") == {REAL: 2}
    assert monday.attempts.time_out(strayed, "too late")
    assert overdue(SECOND.name, "") == []
    assert monday.attempts.open_accounts(production_id="monday") == {REAL: 2}, "it may still come"


def test_breakers_pauses_and_ends_are_apart(monday: World, tuesday: World) -> None:
    ledger = monday.ledger
    ledger.breakers.open(REAL.name, "no_balance", "top up")
    ledger.pauses.pause(REAL.name, 30)
    assert ledger.breakers.get(SECOND.name) is None
    assert ledger.pauses.left_s(SECOND.name) == 0
    assert not ledger.breakers.begin_probe(SECOND.name, "batch")
    assert not ledger.breakers.close(SECOND.name)
    assert ledger.breakers.get(REAL.name) is not None
    monday.failed("a", retryable=True)
    tuesday.collected("a")
    assert monday.attempts.last_ends(REAL.name, 9, since=None) == [
        Failure("oops", "it failed", retryable=True)
    ]
    assert monday.attempts.last_ends(SECOND.name, 9, since=None) == [None]


# ---- the same clip in two productions


def test_same_id_in_two_productions_is_two_clips(monday: World, tuesday: World) -> None:
    monday.failed("a", retryable=False)
    attempt_id = tuesday.in_flight("a")
    assert tuesday.attempts.get(attempt_id).number == 1
    monday.ledger.clips.new_round(monday.keys("a"))
    assert (monday.standing("a").round, tuesday.standing("a").round) == (2, 1)
    assert monday.committed() == tuesday.committed() == 1
    tuesday.register("b")
    assert "a" in monday.pending()
    assert monday.standing("a").active
    clips = monday.ledger.clips
    assert clips.named("a") == ["monday:a", "tuesday:a"]
    assert clips.named("a", "beside") == ["tuesday:a"]
    assert clips.named("nobody") == []


@pytest.mark.parametrize("state", [*AttemptState, "never tried"])
def test_clips_that_another_production_of_the_pipeline_paid_for_are_told(
    ledger: Ledger, clock: Clock, state: str
) -> None:
    monday, beside = (World(ledger, clock, name=name, pipeline=name[:1]) for name in ("monday", "beside"))
    for world in (monday, beside):
        world.register("a", "b", clip("c", "a dog"))
        if state != "never tried":
            for each in ("a", "b", "c"):
                world.at(state, each)
    wanted = [clip("a"), clip("b"), clip("c"), clip("new")]
    known = {"monday": 2}
    with ledger.database.read() as connection:
        assert made_elsewhere(connection, "tuesday", "m", wanted) == known
        assert made_elsewhere(connection, "monday", "m", wanted) == {}, "its own count for nothing"
        assert made_elsewhere(connection, "tuesday", "t", wanted) == {}
        assert made_elsewhere(connection, "tuesday", "m", [clip("a", simulated=False)]) == {}
    monday.ledger.cancellations.cancel("monday", 3)
    with ledger.database.read() as connection:
        still = state in (*LIVE_STATES, AttemptState.COLLECTED) and state != AttemptState.RESERVED
        assert made_elsewhere(connection, "tuesday", "m", wanted) == (known if still else {})


# ---- where accounts are


def test_account_moves_while_nothing_of_it_is_open(monday: World) -> None:
    accounts = monday.ledger.accounts
    accounts.use(REAL, "https://one")
    accounts.use(REAL, "https://one")
    monday.reserved("a")  # nothing was sent
    monday.collected("b")
    accounts.use(REAL, "https://two")
    assert accounts.address_of(REAL.name) == "https://two"
    assert accounts.address_of("nobody") is None


@pytest.mark.parametrize("state", [each for each in LIVE_STATES if each != AttemptState.RESERVED])
def test_account_with_open_predictions_does_not_move(monday: World, tuesday: World, state: str) -> None:
    accounts = monday.ledger.accounts
    accounts.use(REAL, "https://one")
    accounts.use(SECOND, "https://two")
    monday.at(state)
    with pytest.raises(LedgerError, match=r"gptproto has 1 .* open at https://one.*https://three") as caught:
        accounts.use(REAL, "https://three")
    assert "SORA_ACCOUNT" in explained(caught.value)
    assert accounts.address_of(REAL.name) == "https://one"
    accounts.use(REAL, "https://one")
    accounts.use(SECOND, "https://three")


def test_sandbox_may_move_with_open_predictions(ledger: Ledger, clock: Clock) -> None:
    world = World(ledger, clock)
    world.register("a")
    ledger.accounts.use(SANDBOX, "http://127.0.0.1:1")
    world.in_flight()
    ledger.accounts.use(SANDBOX, "http://127.0.0.1:2")
    assert ledger.accounts.address_of("sandbox") == "http://127.0.0.1:2"


def test_name_of_an_account_never_stands_for_the_sandbox_and_for_the_real_thing(
    ledger: Ledger, clock: Clock
) -> None:
    """Else they would share slots, breaker and the day's budget."""
    mine = Account("mine", "sandbox", simulated=True)
    ledger.accounts.use(mine, "http://127.0.0.1:1")
    world = World(ledger, clock, account=mine)
    world.register("a")
    world.collected()
    real = Account("mine", "gptproto", simulated=False)
    with pytest.raises(LedgerError, match=r"mine has made in this ledger is simulated, .* real") as caught:
        ledger.accounts.use(real, "https://real")
    assert "SORA_ACCOUNT" in explained(caught.value)
    assert ledger.accounts.address_of("mine") == "http://127.0.0.1:1"


def test_daemons_of_pipelines_say_what_they_work_with(ledger: Ledger, clock: Clock) -> None:
    pipelines = ledger.pipelines
    assert pipelines.seen("") is None
    pipelines.show("", {"provider": "sandbox", "limits": [1, 2]})
    pipelines.show("beside", {"provider": "gptproto"})
    shown = clock()
    clock.turn(60)
    pipelines.show("", {"provider": "gptproto"})
    seen, beside = pipelines.seen(""), pipelines.seen("beside")
    assert seen is not None
    assert beside is not None
    assert (seen.settings, seen.seen_at) == ({"provider": "gptproto"}, clock())
    assert beside.seen_at == shown


# ---- rows and restoring


def test_keys_are_made_and_taken_apart() -> None:
    assert split_clip_key(clip_key("monday", "001")) == ("monday", "001")
    for bad in ("monday", "", clip_key("", "a"), clip_key("a", "")):
        with pytest.raises(ValueError, match="is not a clip's key"):
            split_clip_key(bad)


@pytest.mark.parametrize("state", AttemptState)
def test_attempt_is_the_same_to_the_database_and_to_python(monday: World, state: str) -> None:
    attempt_id = monday.at(state)
    with monday.ledger.database.read() as connection:
        query = select(attempts_table).where(attempts_table.c.attempt_id == attempt_id)
        row = connection.execute(query).mappings().one()
    assert row_of(attempt_of(row)) | {"attempt_id": attempt_id} == dict(row)


def test_what_was_found_goes_in_beside_others_and_changes_none_of_them(monday: World, tuesday: World) -> None:
    ledger = monday.ledger
    for world in (monday, tuesday):
        world.collected("a")
        world.failed("b", retryable=False)
        world.in_flight("c")
    before, found = monday.snapshot(), tuesday.snapshot()
    lost = _found(tuesday, name="lost")
    ledger.restore.insert(lost)
    assert (monday.snapshot(), tuesday.snapshot()) == (before, found)
    restored = World.known(ledger, monday.clock, ledger.productions.get("lost"), SECOND)
    assert restored.counts() == tuesday.counts()
    assert [each.state for each in restored.all_attempts()] == [each.state for each in tuesday.all_attempts()]
    assert restored.committed() == tuesday.committed() == 3
    assert restored.pending() == []
    for clash in (lost, _found(tuesday, name="lost")):
        with pytest.raises(LedgerError, match="has a production lost already"):
            ledger.restore.insert(clash)
    assert restored.committed() == 3
    with pytest.raises(LedgerError, match="is not lost"):
        ledger.restore.require_empty()


def _found(world: World, name: str) -> LedgerContents:
    """A production as evidence shows it, under another name."""
    standings = world.ledger.clips.standings_of(world.production_id).values()
    return LedgerContents(
        productions=[replace(world.production, production_id=name)],
        clips=[
            RestoredClip(each.clip, name, active=True, position=at, round=each.round, fingerprint=None)
            for at, each in enumerate(standings)
        ],
        attempts=[replace(each, clip_key=clip_key(name, each.clip_id)) for each in world.all_attempts()],
    )
