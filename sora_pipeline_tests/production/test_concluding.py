"""Whatever traces are left, and in whatever order: nothing paid is forgotten, and nothing is paid twice for a doubt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Attempt, StoredVideo
from sora_pipeline.production.concluding import Wanted, conclude
from sora_pipeline.production.traces import Trace, TraceKind

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CLIP = Clip("a", 1, "a fox", None, None, "sora-2-pro", "sandbox", 4, Size(720, 1280))
WANTED = Wanted(CLIP, CLIP.fingerprint, "production", "/out", True, 0)
VIDEO = StoredVideo(
    "videos/a/a.mp4", 1, "0" * 64, 720, 1280, 24.0, 96, 4.0, "h264", False, False, None, "/out"
)
PRICE = Decimal("1.20")


def trace(
    kind: TraceKind, number: int | None, minute: int, *, billed: bool = False, new_attempt: bool = True
) -> Trace:
    predicted = kind in (TraceKind.ACCEPTED, TraceKind.STORED) or (kind is TraceKind.FAILED and billed)
    return Trace(
        clip_id="a",
        kind=kind,
        at=NOW - timedelta(minutes=minute),
        number=number,
        prediction_id=f"p{number}" if predicted else None,
        video=VIDEO if kind is TraceKind.STORED else None,
        new_attempt=new_attempt,
    )


def concluded(traces: list[Trace], spent: Decimal = Decimal(0)) -> list[Attempt]:
    return conclude(WANTED, traces, price=lambda: PRICE, spent=spent, deadline_s=60, now=NOW)


known = st.builds(
    trace,
    st.sampled_from([kind for kind in TraceKind if kind is not TraceKind.PERHAPS_SENT]),
    st.integers(1, 4),
    st.integers(0, 500),
    billed=st.booleans(),
)
doubtful = st.builds(
    trace, st.just(TraceKind.PERHAPS_SENT), st.none(), st.integers(0, 500), new_attempt=st.booleans()
)


@given(st.lists(st.one_of(known, doubtful), min_size=1, max_size=8), st.integers(0, 20), st.randoms())
def test_any_traces_lead_to_attempts_that_a_ledger_can_hold(
    traces: list[Trace], dollars: int, chance: object
) -> None:
    made = concluded(traces, Decimal(dollars))
    numbers = [attempt.number for attempt in made]
    assert numbers == sorted(set(numbers))
    assert all(number > 0 for number in numbers)
    assert [attempt for attempt in made[:-1] if attempt.live] == [], "one live attempt a clip"
    assert {each.prediction_id for each in traces} - {None} == {each.prediction_id for each in made} - {None}
    billed = sum(each.cost_usd for each in made if each.accepted_at or each.possibly_billed)
    assert billed >= dollars
    predictions = {each.prediction_id for each in traces} - {None}
    assert billed >= PRICE * len(predictions)
    stored = {each.number for each in traces if each.kind is TraceKind.STORED}
    assert {each.number for each in made if each.state == "collected"} == stored
    # A clip begins another attempt by itself only where the last one is known to have failed.
    last = made[-1]
    assert last.live or last.state in ("collected", "failed")
    if last.state == "failed" and last.number in {each.number for each in traces}:
        assert any(each.number == last.number and each.kind is TraceKind.FAILED for each in traces)
    assert concluded(list(reversed(traces)), Decimal(dollars)) == made, "in whatever order they are found"


def test_run_that_was_lost_after_a_failure_may_have_paid_for_another() -> None:
    made = concluded([trace(TraceKind.FAILED, 1, 60), trace(TraceKind.PERHAPS_SENT, None, 30)])
    assert [(each.number, each.state) for each in made] == [(1, "failed"), (2, "ambiguous")]
    assert made[1].possibly_billed


def test_persons_run_that_was_lost_while_it_waited_for_a_prediction_paid_for_nothing() -> None:
    waiting = trace(TraceKind.PERHAPS_SENT, None, 30, new_attempt=False)
    made = concluded([trace(TraceKind.ACCEPTED, 1, 60), waiting])
    assert [(each.number, each.state) for each in made] == [(1, "in_flight")]
    delivered = concluded([trace(TraceKind.STORED, 1, 60), waiting])
    assert [(each.number, each.state) for each in delivered] == [(1, "collected")]


def test_run_that_was_lost_and_followed_is_history_that_cost() -> None:
    made = concluded([trace(TraceKind.PERHAPS_SENT, None, 90), trace(TraceKind.STORED, 2, 30)])
    assert [(each.number, each.state) for each in made] == [(1, "failed"), (2, "collected")]
    assert made[0].possibly_billed


def test_run_that_was_lost_before_it_submitted_and_was_followed_cost_nothing() -> None:
    made = concluded([trace(TraceKind.PERHAPS_SENT, None, 90), trace(TraceKind.STORED, 1, 30)])
    assert [(each.number, each.state) for each in made] == [(1, "collected")]


def test_money_that_only_the_output_manifest_knows_of_counts() -> None:
    made = concluded([trace(TraceKind.STORED, 3, 30)], Decimal("3.60"))
    assert [(each.number, each.cost_usd) for each in made] == [(2, Decimal("2.40")), (3, PRICE)]
    alone = concluded([trace(TraceKind.STORED, 1, 30)], Decimal("3.60"))
    assert [(each.number, each.cost_usd) for each in alone] == [(1, Decimal("3.60"))]
