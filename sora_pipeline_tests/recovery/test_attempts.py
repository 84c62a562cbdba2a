"""Whatever evidence are left, and in whatever order: nothing paid is forgotten, and nothing is paid twice for a doubt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Account, Attempt
from sora_pipeline.recovery.attempts import Terms, reconstruct_attempts
from sora_pipeline.recovery.clips import WantedClip
from sora_pipeline.recovery.evidence import Evidence, EvidenceKind
from sora_pipeline.video import StoredVideo, VideoFacts

NOW = datetime(2026, 1, 2, tzinfo=UTC)
CLIP = Clip("a", 1, "a fox", None, None, "sora-2-pro", True, 4, Size(720, 1280))
WANTED = WantedClip(CLIP, CLIP.fingerprint, "production", True, 0)
FACTS = VideoFacts(1, "0" * 64, 720, 1280, 24.0, 96, 4.0, "h264", False, False)
VIDEO = StoredVideo("/out", "videos/a/a.mp4", None, FACTS)
ACCOUNT = Account("studio", "gptproto", False)
PRICE = Decimal("1.20")


def proof(
    kind: EvidenceKind,
    number: int | None,
    minute: int,
    *,
    billed: bool = False,
    new_attempt: bool = True,
    elsewhere: bool = False,
) -> Evidence:
    predicted = kind in (EvidenceKind.ACCEPTED, EvidenceKind.STORED) or (
        kind is EvidenceKind.FAILED and billed
    )
    return Evidence(
        clip_id="a",
        kind=kind,
        at=NOW - timedelta(minutes=minute),
        number=number,
        prediction_id=f"{'q' if elsewhere else 'p'}{number}" if predicted else None,
        video=VIDEO if kind is EvidenceKind.STORED else None,
        new_attempt=new_attempt,
    )


def concluded(evidence: list[Evidence], spent: Decimal = Decimal(0)) -> list[Attempt]:
    terms = Terms(ACCOUNT, price=lambda: PRICE, spent=spent, deadline_s=60, now=NOW)
    return reconstruct_attempts(WANTED, evidence, terms)


known = st.builds(
    proof,
    st.sampled_from([kind for kind in EvidenceKind if kind is not EvidenceKind.PERHAPS_SENT]),
    st.integers(1, 4),
    st.integers(0, 500),
    billed=st.booleans(),
)
counted_twice = st.builds(
    proof,
    st.sampled_from([EvidenceKind.ACCEPTED, EvidenceKind.FAILED, EvidenceKind.STORED]),
    st.integers(1, 3),
    st.integers(0, 500),
    billed=st.just(True),
    elsewhere=st.booleans(),
)
doubtful = st.builds(
    proof, st.just(EvidenceKind.PERHAPS_SENT), st.none(), st.integers(0, 500), new_attempt=st.booleans()
)


@given(st.lists(st.one_of(known, doubtful), min_size=1, max_size=8), st.integers(0, 20), st.randoms())
def test_any_evidence_leads_to_attempts_that_a_ledger_can_hold(
    evidence: list[Evidence], dollars: int, chance: object
) -> None:
    made = concluded(evidence, Decimal(dollars))
    numbers = [attempt.number for attempt in made]
    assert numbers == sorted(set(numbers))
    assert all(number > 0 for number in numbers)
    assert [attempt for attempt in made[:-1] if attempt.live] == [], "one live attempt a clip"
    assert {each.prediction_id for each in evidence} - {None} == {
        each.submission.prediction_id for each in made
    } - {None}
    billed = sum(each.cost_usd for each in made if each.billed)
    assert billed >= dollars
    predictions = {each.prediction_id for each in evidence} - {None}
    assert billed >= PRICE * len(predictions)
    stored = {each.number for each in evidence if each.kind is EvidenceKind.STORED}
    assert {each.number for each in made if each.state == "collected"} == stored
    # A clip begins another attempt by itself only where the last one is known to have failed.
    last = made[-1]
    assert last.live or last.state in ("collected", "failed")
    if last.state == "failed" and last.number in {each.number for each in evidence}:
        assert any(each.number == last.number and each.kind is EvidenceKind.FAILED for each in evidence)
    assert concluded(list(reversed(evidence)), Decimal(dollars)) == made, "in whatever order they are found"


@settings(max_examples=300)
@given(st.lists(counted_twice, min_size=2, max_size=8))
def test_attempts_that_two_ledgers_counted_alike_are_all_kept(evidence: list[Evidence]) -> None:
    made = concluded(evidence)
    assert [attempt for attempt in made[:-1] if attempt.live] == []
    numbers = [attempt.number for attempt in made]
    assert numbers == sorted(set(numbers))
    predictions = [attempt.submission.prediction_id for attempt in made]
    assert sorted(filter(None, predictions)) == sorted({one.prediction_id for one in evidence} - {None})
    stored = {one.prediction_id for one in evidence if one.kind is EvidenceKind.STORED}
    assert {each.submission.prediction_id for each in made if each.state == "collected"} == stored
    assert sum(each.cost_usd for each in made if each.billed) == PRICE * len(predictions)
    assert concluded(list(reversed(evidence))) == made


def test_run_that_was_lost_after_a_failure_may_have_paid_for_another() -> None:
    made = concluded([proof(EvidenceKind.FAILED, 1, 60), proof(EvidenceKind.PERHAPS_SENT, None, 30)])
    assert [(each.number, each.state) for each in made] == [(1, "failed"), (2, "ambiguous")]
    assert made[1].possibly_billed


def test_persons_run_that_was_lost_while_it_waited_for_a_prediction_paid_for_nothing() -> None:
    waiting = proof(EvidenceKind.PERHAPS_SENT, None, 30, new_attempt=False)
    made = concluded([proof(EvidenceKind.ACCEPTED, 1, 60), waiting])
    assert [(each.number, each.state) for each in made] == [(1, "in_flight")]
    delivered = concluded([proof(EvidenceKind.STORED, 1, 60), waiting])
    assert [(each.number, each.state) for each in delivered] == [(1, "collected")]


def test_run_that_was_lost_and_followed_is_history_that_cost() -> None:
    made = concluded([proof(EvidenceKind.PERHAPS_SENT, None, 90), proof(EvidenceKind.STORED, 2, 30)])
    assert [(each.number, each.state) for each in made] == [(1, "failed"), (2, "collected")]
    assert made[0].possibly_billed


def test_run_that_was_lost_before_it_submitted_and_was_followed_cost_nothing() -> None:
    made = concluded([proof(EvidenceKind.PERHAPS_SENT, None, 90), proof(EvidenceKind.STORED, 1, 30)])
    assert [(each.number, each.state) for each in made] == [(1, "collected")]


def test_money_that_only_the_output_manifest_knows_of_counts() -> None:
    made = concluded([proof(EvidenceKind.STORED, 3, 30)], Decimal("3.60"))
    assert [(each.number, each.cost_usd) for each in made] == [(2, Decimal("2.40")), (3, PRICE)]
    alone = concluded([proof(EvidenceKind.STORED, 1, 30)], Decimal("3.60"))
    assert [(each.number, each.cost_usd) for each in alone] == [(1, Decimal("3.60"))]
