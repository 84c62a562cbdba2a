"""A provider that says 429 is left alone by every process, for as long as it asked."""

import time
from concurrent.futures import ThreadPoolExecutor

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


def test_pause_is_taken_back_by_who_began_it_and_no_longer_one(ledger: Ledger) -> None:
    mine = ledger.pauses.pause("sandbox", 15)
    assert mine is not None
    ledger.pauses.lift("sandbox", mine)
    assert ledger.pauses.left_s("sandbox") == 0
    mine = ledger.pauses.pause("sandbox", 15)
    assert mine is not None
    ledger.pauses.pause("sandbox", 60)
    ledger.pauses.lift("sandbox", mine)
    assert ledger.pauses.left_s("sandbox") > 50
    assert ledger.pauses.pause("sandbox", 15) is None, "nothing to take back"


def test_what_a_pause_took_the_place_of_holds_again_once_it_is_taken_back(ledger: Ledger) -> None:
    """A provider that said 429, or another command that stops."""
    ledger.pauses.pause("sandbox", 14)
    mine = ledger.pauses.pause("sandbox", 45)
    assert mine is not None
    ledger.pauses.lift("sandbox", mine)
    assert 10 < ledger.pauses.left_s("sandbox") <= 14


def test_pause_is_not_taken_back_while_somebody_lengthens_it(ledger: Ledger) -> None:
    """Between his look at it and his change of it, it would be gone, and his change one of nothing."""
    mine = ledger.pauses.pause("sandbox", 15)
    assert mine is not None
    with ThreadPoolExecutor(1) as threads:
        with ledger.database.exclusive():
            lifted = threads.submit(ledger.pauses.lift, "sandbox", mine)
            time.sleep(0.3)
            assert not lifted.done()
        lifted.result()
