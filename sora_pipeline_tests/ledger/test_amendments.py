"""Rows mended apart from the campaign: each stands until the campaign's own row changes, and nothing else changes with it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.ledger.schema import amendments
from sora_pipeline_tests.ledger.world import REAL, SANDBOX, Clock, World, clip

INVALID = "invalid"
IDS = ["a", "b", "c"]
ROWS = st.dictionaries(st.sampled_from(IDS), st.sampled_from(["a cat", "a dog", INVALID, f"{INVALID} too"]))
MENDED = st.dictionaries(
    st.sampled_from(IDS), st.sampled_from(["a cat", "a dog", "a better cat"]), min_size=1
)
STEPS = st.one_of(
    st.tuples(st.just("read"), ROWS),
    st.tuples(st.just("mend"), MENDED),
    st.tuples(st.just("account"), st.sampled_from([REAL, SANDBOX])),
    st.tuples(st.just("other mends"), MENDED),
)


@dataclass
class Model:
    """What should be wanted, in words as few as the promise."""

    rows: dict[str, str] = field(default_factory=dict)
    amended: dict[str, str] = field(default_factory=dict)

    def read(self, rows: dict[str, str]) -> None:
        changed = {each for each in self.amended if rows.get(each) != self.rows.get(each)}
        self.amended = {each: prompt for each, prompt in self.amended.items() if each not in changed}
        self.rows = rows

    def mend(self, prompts: dict[str, str]) -> None:
        for clip_id, prompt in prompts.items():
            if self.wanted().get(clip_id) != prompt:
                self.amended[clip_id] = prompt

    def wanted(self) -> dict[str, str]:
        own = {each: prompt for each, prompt in self.rows.items() if not prompt.startswith(INVALID)}
        return own | self.amended


def read(world: World, rows: dict[str, str]) -> None:
    wanted = [
        replace(clip(each, prompt), row_number=number)
        for number, (each, prompt) in enumerate(rows.items(), 1)
        if not prompt.startswith(INVALID)
    ]
    world.read(wanted, invalid_of(rows))


def invalid_of(rows: dict[str, str]) -> dict[str, str]:
    return {each: f"hash of {prompt}" for each, prompt in rows.items() if prompt.startswith(INVALID)}


def wanted_by(world: World) -> dict[str, str]:
    return {each.clip_id: each.prompt for each in world.ledger.clips.of_production(world.production_id)}


@settings(
    max_examples=60,
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(STEPS, min_size=2, max_size=9))
def test_amended_row_stands_until_the_campaigns_own_row_changes(
    empty: Callable[[], Ledger], steps: list[tuple[str, Any]]
) -> None:
    ledger = empty()
    assert isinstance(ledger.now, Clock)
    monday, tuesday = (World(ledger, ledger.now, name=name, account=REAL) for name in ("monday", "tuesday"))
    models = {"monday": Model(), "tuesday": Model()}
    begun = dict.fromkeys(IDS, "a cat")
    for world in (monday, tuesday):
        read(world, begun)
        models[world.production_id].read(begun)
    for what, value in steps:
        world = tuesday if what == "other mends" else monday
        model = models[world.production_id]
        match what:
            case "read":
                read(monday, value)
                model.read(value)
            case "account":
                monday.account = value
                read(monday, model.rows)
            case _:
                mended = {each: prompt for each, prompt in value.items() if each in model.rows}
                before = wanted_by(world)
                world.mend(
                    *(clip(each, prompt) for each, prompt in mended.items()), invalid=invalid_of(model.rows)
                )
                model.mend(mended)
                untouched = before.keys() - mended.keys()
                assert {each: wanted_by(world)[each] for each in untouched} == {
                    each: before[each] for each in untouched
                }
        for each in (monday, tuesday):
            assert wanted_by(each) == models[each.production_id].wanted()
            assert set(each.pending()) == set(wanted_by(each))
            kinds = {wanted.simulated for wanted in ledger.clips.of_production(each.production_id)}
            assert kinds <= {each.production.simulated}


def test_unchanged_rows_of_a_failed_csv_change_nothing(world: World) -> None:
    """CSV knows no types, its rows have other numbers, and takes are rows of their own."""
    row = replace(clip("a"), row_number=7, take=2, carried={"campaign": "spring", "shot": 3, "note": None})
    world.read([row, replace(clip("b"), row_number=8)])
    world.failed("a", retryable=False)
    before = world.standings("a", "b")
    world.mend(replace(row, row_number=1, take=1, carried={"campaign": "spring", "shot": "3", "note": ""}))
    assert world.standings("a", "b") == before
    assert world.ledger.productions.amendments(world.production_id) == {}


def test_mended_row_is_attempted_anew_in_its_place_and_keeps_its_history(world: World) -> None:
    world.register("a", "b", "c")
    world.failed("b", retryable=False)
    world.collected("c")
    world.mend(clip("b", "a better cat"))
    assert world.pending() == ["a", "b"]
    standing = world.standing("b")
    assert (standing.round, standing.attempts, standing.clip.row_number) == (2, 1, 2)
    world.collected("b")
    world.register("a", "b", "c")
    assert world.pending() == ["a"], "the campaign, run again, submits no old prompt"
    assert world.standing("b").clip.prompt == "a better cat"


def test_amended_row_that_is_mended_once_more_still_stands_for_the_campaigns(world: World) -> None:
    world.register("a")
    world.mend(clip("a", "better"))
    world.mend(clip("a", "best"))
    world.register("a")
    assert wanted_by(world) == {"a": "best"}
    world.register(clip("a", "a dog"))
    assert wanted_by(world) == {"a": "a dog"}
    world.register("a")
    assert wanted_by(world) == {"a": "a cat"}, "an amendment that was dropped does not come back"


@pytest.mark.parametrize("known", [True, False])
def test_amendment_from_an_earlier_version_is_noted_with_the_next_reading(world: World, known: bool) -> None:
    """The migration knows of no row's hash; mended once more before that reading, it must stand all the same."""
    world.register("a")
    world.mend(clip("a", "better"))
    with world.ledger.database.write() as connection:
        connection.execute(update(amendments).values(row_hash=None))
    if not known:
        world.mend(clip("a", "best"))
    world.register("a")
    assert wanted_by(world) == {"a": "better" if known else "best"}
    world.register(clip("a", "a dog"))
    assert wanted_by(world) == {"a": "a dog"}


@pytest.mark.parametrize(("was", "is_now"), [(SANDBOX, REAL), (REAL, SANDBOX)])
def test_amendment_goes_with_its_production_to_an_account_of_the_other_kind(
    ledger: Ledger, clock: Clock, was: Account, is_now: Account
) -> None:
    world = World(ledger, clock, account=was)
    world.register("a", "b")
    world.mend(clip("a", "better"))
    world.account = is_now
    world.mend(clip("b", "better"))  # read for the new account, before the campaign is
    assert {each.simulated for each in clips_of(world)} == {was.simulated}
    world.register("a", "b")
    assert wanted_by(world) == {"a": "better", "b": "better"}
    assert {each.simulated for each in clips_of(world)} == {is_now.simulated}


def clips_of(world: World) -> list[Clip]:
    return world.ledger.clips.of_production(world.production_id)


def test_amendments_of_a_production_are_told(world: World, neighbour: World) -> None:
    world.register("a", "b")
    world.mend(clip("a", "better"))
    (found,) = world.ledger.productions.amendments(world.production_id).items()
    assert (found[0], found[1].clip.prompt) == ("a", "better")
    assert world.ledger.productions.amendments(neighbour.production_id) == {}
