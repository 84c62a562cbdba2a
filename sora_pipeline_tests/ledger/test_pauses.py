"""A provider that says 429 is left alone by every process, for as long as it asked."""

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
