"""A provider that says 429 is left alone by every process, for as long as it asked."""

import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline_tests.ledger.world import Clock


def test_pause_holds_for_every_run_and_ends_by_itself(ledger: Ledger, clock: Clock) -> None:
    assert ledger.pauses.left_s("sandbox") == 0
    ledger.pauses.pause("sandbox", 30)
    assert 0 < ledger.pauses.left_s("sandbox") <= 30
    assert ledger.pauses.left_s("gptproto") == 0
    clock.turn(31)
    assert ledger.pauses.left_s("sandbox") == 0


def test_longest_wish_counts(ledger: Ledger) -> None:
    ledger.pauses.pause("sandbox", 60)
    ledger.pauses.pause("sandbox", 5)
    assert ledger.pauses.left_s("sandbox") > 50


def test_pause_is_taken_back_by_its_owner_and_no_other_one(ledger: Ledger) -> None:
    """A provider that said 429, or another command that stops: also what came meanwhile, and is shorter."""
    ledger.pauses.pause("sandbox", 45, "stop")
    ledger.pauses.pause("sandbox", 14)
    assert ledger.pauses.left_s("sandbox") > 40
    ledger.pauses.lift("sandbox", "stop")
    assert 10 < ledger.pauses.left_s("sandbox") <= 14
    ledger.pauses.lift("sandbox", "stop")
    assert ledger.pauses.left_s("sandbox") > 10


@pytest.mark.parametrize("first", [0, 1])
def test_two_commands_that_stop_together_leave_no_pause_behind(
    ledger: Ledger, clock: Clock, first: int
) -> None:
    owners = ["one", "other"]
    for owner in owners:
        ledger.pauses.pause("sandbox", 45, owner)
        clock.turn(1)
    ledger.pauses.lift("sandbox", owners[first])
    assert ledger.pauses.left_s("sandbox") > 40, "the other one still stops"
    ledger.pauses.lift("sandbox", owners[1 - first])
    assert ledger.pauses.left_s("sandbox") == 0
