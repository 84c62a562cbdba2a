"""What an account's renders took decides when its predictions are polled, each kind by itself."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.ledger.types import RenderKind
from sora_pipeline.production import render_times
from sora_pipeline.production.poll_schedule import FEWEST, PollSchedule
from sora_pipeline.production.render_times import RenderTimes
from sora_pipeline.provider.catalogue import Catalogue, load_catalogue
from sora_pipeline.settings import Settings
from sora_pipeline_tests.ledger.world import LEASE_S, REAL, SANDBOX, Clock, World, clip

SHORT = RenderKind("sora-2", 4, "720x1280")
LONG = RenderKind("sora-2", 12, "720x1280")
LARGE = RenderKind("sora-2", 4, "1280x720")
PRO = RenderKind("sora-2-pro", 4, "720x1280")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rendered(
    ledger: Ledger,
    clock: Clock,
    kind: RenderKind,
    takes_s: float,
    *,
    account: Account = SANDBOX,
    clips: int = FEWEST,
) -> None:
    """So many clips of a kind that took so long, as polls a second apart have found."""
    world = World(ledger, clock, name=f"{account.name}-{kind.model}-{kind.duration}", account=account)
    world.register(*(replace(clip(f"{number}"), model=kind.model) for number in range(clips)))
    for number in range(clips):
        attempt_id = world.reserved(f"{number}")
        request = {"duration": kind.duration, "size": kind.size}
        assert world.attempts.begin_submit(attempt_id, "run", lease_s=LEASE_S, request_summary=request)
        assert world.accept(attempt_id)
        clock.turn(takes_s - 0.5)
        assert world.attempts.still_running(attempt_id, "processing", 1)
        clock.turn(1)
        assert world.succeed(attempt_id)


def of(ledger: Ledger, catalogue: Catalogue | None = None, **settings: Any) -> RenderTimes:
    return RenderTimes(ledger, Settings(poll_interval_s=5, **settings), catalogue or load_catalogue())


def polls_before(schedule: PollSchedule, age_s: float) -> int:
    polls, age = 0, schedule.wait_s(0)
    while age < age_s:
        polls, age = polls + 1, age + schedule.wait_s(age)
    return polls


@pytest.fixture
def reads(ledger: Ledger) -> Iterator[list[str]]:
    """Every statement that the ledger is asked."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, sql: str, *_rest: object) -> None:
        sent.append(sql)

    event.listen(ledger.database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(ledger.database.engine, "before_cursor_execute", note)


def test_two_durations_sizes_and_models_of_an_account_are_not_mixed_up(ledger: Ledger, clock: Clock) -> None:
    rendered(ledger, clock, SHORT, 30)
    rendered(ledger, clock, LONG, 150)
    times = of(ledger)
    assert times.schedule(SHORT).wait_s(28) < 4
    assert times.schedule(LONG).wait_s(28) > 15
    assert polls_before(times.schedule(LONG), 148) < 6
    assert times.schedule(LARGE) == PollSchedule(5), "nothing is known of that size"
    assert times.schedule(PRO) == PollSchedule(5), "nor of that model"


def test_another_account_has_its_own_times(ledger: Ledger, clock: Clock) -> None:
    rendered(ledger, clock, SHORT, 30)
    rendered(ledger, clock, SHORT, 150, account=REAL)
    simulated = of(ledger)
    real = of(ledger, provider="gptproto", api_key="key")
    assert simulated.schedule(SHORT).wait_s(28) < 4
    assert real.schedule(SHORT).wait_s(28) > 15
    assert of(ledger, account="apart").schedule(SHORT) == PollSchedule(5)


def test_catalogue_is_believed_for_real_accounts_until_renders_have_ended(
    ledger: Ledger, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[models."wan-2.6"]\nexpected_render_s = 400\n')
    catalogue = load_catalogue(mine)
    wan = RenderKind("wan-2.6", 5, "720x1280")
    real = of(ledger, catalogue, provider="gptproto-unified", api_key="key")
    assert real.schedule(wan).wait_s(0) == pytest.approx(15, abs=1.5)
    assert of(ledger, catalogue).schedule(wan) == PollSchedule(5), "a sandbox is as quick as it is told to be"
    assert real.schedule(RenderKind("unheard-of", 5, "720x1280")) == PollSchedule(5)


def test_ledger_is_asked_every_few_seconds_and_not_at_each_poll(
    ledger: Ledger, clock: Clock, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = of(ledger)
    for _ in range(50):
        times.schedule(SHORT)
        times.schedule(LONG)
    assert len([sql for sql in reads if "unfinished_at" in sql]) == 1
    rendered(ledger, clock, SHORT, 30)
    assert times.schedule(SHORT) == PollSchedule(5)
    monkeypatch.setattr(render_times, "READ_AGAIN_S", 0.05)
    time.sleep(0.1)
    assert times.schedule(SHORT).wait_s(0) > 5


def test_schedule_stays_the_same_object_while_nothing_new_has_ended(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered(ledger, clock, SHORT, 30)
    monkeypatch.setattr(render_times, "READ_AGAIN_S", 0.0)
    times = of(ledger)
    first = times.schedule(SHORT)
    assert times.schedule(SHORT) is first
    rendered(ledger, clock, LONG, 30)
    assert times.schedule(SHORT) is first
