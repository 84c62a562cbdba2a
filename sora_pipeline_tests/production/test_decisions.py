"""What a clip needs, and what a person's retry does: every state, whoever holds it, whoever asks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Account, Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.types import LIVE_STATES, Failure, Lease
from sora_pipeline.production.decisions import Need, Retry, is_claimable, need_of, retry_of
from sora_pipeline_tests.conftest import PROMPTS, key
from sora_pipeline_tests.production.parts import GPTPROTO, SANDBOX

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ME, OTHER = "me", "other"
MINE, THEIRS = "my batch", "another batch"
CLIP = Clip(
    clip_id="a",
    row_number=1,
    prompt="a fox",
    image=None,
    image_sha256=None,
    model="sora-2-pro",
    simulated=True,
    duration=4,
    size=Size(720, 1280),
)
LEASES = {
    "nobody": Lease(),
    "nobody, as planned": Lease(None, NOW + timedelta(seconds=60)),
    "mine": Lease(ME, NOW + timedelta(seconds=60)),
    "mine, run out": Lease(ME, NOW - timedelta(days=1)),
    "another's": Lease(OTHER, NOW + timedelta(seconds=60)),
    "another's, run out": Lease(OTHER, NOW - timedelta(days=1)),
}
FREE = ("nobody", "nobody, as planned", "mine", "mine, run out", "another's, run out")
S = AttemptState


def attempt(
    state: AttemptState,
    *,
    lease: Lease = LEASES["nobody"],
    account: Account = SANDBOX,
    batch_id: str = THEIRS,
    number: int = 1,
    failure: Failure | None = None,
    reported_at: datetime | None = None,
    round_number: int = 1,
) -> Attempt:
    return Attempt(
        attempt_id=number,
        clip_key=key("a"),
        number=number,
        round=round_number,
        fingerprint=CLIP.fingerprint,
        state=state,
        batch_id=batch_id,
        account=account,
        model=CLIP.model,
        cost_micros=1_200_000,
        reserved_at=NOW,
        lease=lease,
        failure=failure,
        reported_at=reported_at,
    )


def elsewhere(state: AttemptState) -> Attempt:
    return attempt(state, account=GPTPROTO)


def clip_with(
    latest: Attempt | None, *, delivered: Attempt | None = None, active: bool = True
) -> ClipStanding:
    if delivered is None and latest is not None and latest.state is S.COLLECTED:
        delivered = latest
    return ClipStanding(
        clip=CLIP,
        production_id=PROMPTS,
        output_uri="/out/prompts",
        round=1,
        active=active,
        latest=latest,
        delivered=delivered,
        attempts_in_round=0 if latest is None else 1,
        attempts=0 if latest is None else latest.number,
    )


def need(standing: ClipStanding, *, account: Account = SANDBOX, force: bool = False) -> Need:
    return need_of(standing, batch_id=MINE, owner=ME, account=account, force=force, now=NOW)


# ---- need_of: every row of the table is one state, whatever the things are that it does not name

HAS_ONE = (S.IN_FLIGHT, S.SUCCEEDED, S.TIMED_OUT)
TABLE: list[tuple[AttemptState | None, tuple[str, ...], bool, bool, bool, Need]] = []
"""State, leases, whether it is our account's, whether it is our batch's, whether forced: what is needed."""
for _lease in LEASES:
    for _account in (True, False):
        for _batch in (True, False):
            for _force in (True, False):
                _at = ((_lease,), _account, _batch, _force)
                TABLE += [(state, *_at, Need.NOTHING) for state in HAS_ONE]
                TABLE.append((S.AMBIGUOUS, *_at, Need.SHOW_AMBIGUOUS))
                TABLE.append((S.FAILED, *_at, Need.SHOW_FAILURE if _batch else Need.BEGIN))
                TABLE.append((S.COLLECTED, *_at, Need.BEGIN if _force and not _batch else Need.NOTHING))
                free = _lease in FREE
                mine = Need.SUBMIT if _account else Need.RELEASE
                TABLE.append((S.RESERVED, *_at, mine if free else Need.WAIT))
                dead = _lease in ("nobody", "nobody, as planned", "another's, run out")
                TABLE.append((S.SUBMITTING, *_at, Need.PARK if dead else Need.WAIT))


@pytest.mark.parametrize("state", AttemptState)
def test_every_state_needs_what_the_table_says(state: AttemptState) -> None:
    rows = [row for row in TABLE if row[0] is state]
    assert len(rows) == len(LEASES) * 8
    for _, (lease,), ours, in_batch, force, expected in rows:
        made = attempt(
            state,
            lease=LEASES[lease],
            account=SANDBOX if ours else GPTPROTO,
            batch_id=MINE if in_batch else THEIRS,
        )
        found = need(clip_with(made), force=force)
        assert found is expected, f"{state}, lease {lease}, ours {ours}, in batch {in_batch}, force {force}"


@pytest.mark.parametrize("force", [True, False])
def test_a_clip_that_was_never_attempted_begins(force: bool) -> None:
    assert need(clip_with(None), force=force) is Need.BEGIN


@pytest.mark.parametrize(
    ("newest", "force", "expected"),
    [
        (attempt(S.FAILED, number=2), False, Need.NOTHING),
        (attempt(S.FAILED, number=2), True, Need.BEGIN),
        (attempt(S.FAILED, number=2, batch_id=MINE), True, Need.NOTHING),
        (attempt(S.RESERVED, number=2), True, Need.SUBMIT),
        (attempt(S.RESERVED, number=2, account=GPTPROTO), True, Need.RELEASE),
        (attempt(S.AMBIGUOUS, number=2), False, Need.SHOW_AMBIGUOUS),
        (attempt(S.IN_FLIGHT, number=2), True, Need.NOTHING),
    ],
)
def test_a_delivered_clip_that_is_made_once_more_keeps_its_video(
    newest: Attempt, force: bool, expected: Need
) -> None:
    assert need(clip_with(newest, delivered=attempt(S.COLLECTED)), force=force) is expected


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        (Account("second", "sandbox", simulated=True), Need.RELEASE),
        (Account("sandbox", "gptproto", simulated=False), Need.RELEASE),
        (Account("sandbox", "sandbox", simulated=False), Need.RELEASE),
        (SANDBOX, Need.SUBMIT),
    ],
)
def test_an_account_is_its_name_its_format_and_whether_it_is_real(theirs: Account, expected: Need) -> None:
    assert need(clip_with(attempt(S.RESERVED, account=theirs))) is expected


leases = st.builds(
    Lease,
    st.sampled_from([None, ME, OTHER]),
    st.none() | st.integers(-200_000, 200_000).map(lambda seconds: NOW + timedelta(seconds=seconds)),
)
accounts = st.builds(
    Account, st.sampled_from(["sandbox", "second"]), st.sampled_from(["sandbox", "gptproto"]), st.booleans()
)
attempts = st.builds(
    attempt,
    st.sampled_from(AttemptState),
    lease=leases,
    account=accounts,
    batch_id=st.sampled_from([MINE, THEIRS]),
    number=st.integers(1, 5),
    failure=st.none() | st.builds(Failure, st.just("x"), st.just("y"), st.sampled_from([None, True, False])),
    reported_at=st.sampled_from([None, NOW]),
    round_number=st.integers(1, 2),
)
standings = st.builds(
    clip_with, st.none() | attempts, delivered=st.none() | st.just(attempt(S.COLLECTED)), active=st.booleans()
)


@given(standings, accounts, st.booleans())
def test_nothing_is_paid_twice_or_by_another_account(
    standing: ClipStanding, account: Account, force: bool
) -> None:
    found, latest = need(standing, account=account, force=force), standing.latest
    if found is Need.BEGIN:
        assert latest is None or latest.state not in LIVE_STATES
        assert force or not standing.delivered
    if found in (Need.SUBMIT, Need.RELEASE):
        assert latest is not None
        assert latest.state is S.RESERVED, "only what was not sent is sent, or given back"
        assert (latest.account == account) is (found is Need.SUBMIT)
        assert is_claimable(latest, ME, NOW)
    if found is Need.PARK:
        assert latest is not None
        assert (latest.state, latest.lease.owner == ME) == (S.SUBMITTING, False)
    if latest is not None and latest.state is S.SUBMITTING:
        assert found in (Need.PARK, Need.WAIT), "what may be on its way is never sent again"


@given(standings, accounts)
def test_force_changes_only_what_is_delivered(standing: ClipStanding, account: Account) -> None:
    if not standing.delivered:
        assert need(standing, account=account, force=True) is need(standing, account=account)


# ---- retry_of

ONCE_MORE = Failure("no_resource", "busy", retryable=True)
FOR_GOOD = Failure("content_policy", "refused", retryable=False)
RETRIES = [
    ("never attempted", None, False, Retry.NOTHING, Retry.NOTHING),
    ("reserved", attempt(S.RESERVED), False, Retry.NOTHING, Retry.NOTHING),
    ("being sent", attempt(S.SUBMITTING), False, Retry.NOTHING, Retry.NOTHING),
    ("rendering", attempt(S.IN_FLIGHT), False, Retry.NOTHING, Retry.NOTHING),
    ("rendered", attempt(S.SUCCEEDED), False, Retry.NOTHING, Retry.NOTHING),
    ("given up on", attempt(S.SUCCEEDED, reported_at=NOW), False, Retry.FETCH, Retry.FETCH),
    ("timed out", attempt(S.TIMED_OUT), False, Retry.RESUME, Retry.RESUME),
    ("timed out elsewhere", elsewhere(S.TIMED_OUT), False, Retry.HOLD_ELSEWHERE, Retry.GIVE_UP_AND_ANEW),
    ("lost elsewhere", elsewhere(S.AMBIGUOUS), False, Retry.HOLD, Retry.GIVE_UP_AND_ANEW),
    ("lost", attempt(S.AMBIGUOUS), False, Retry.HOLD, Retry.GIVE_UP_AND_ANEW),
    ("delivered", attempt(S.COLLECTED), False, Retry.NOTHING, Retry.NOTHING),
    ("delivered, and the file lost", attempt(S.COLLECTED), True, Retry.NOTHING, Retry.FETCH_LOST),
    ("failed for good", attempt(S.FAILED, failure=FOR_GOOD), False, Retry.ANEW, Retry.ANEW),
    ("failed and tried by itself", attempt(S.FAILED, failure=ONCE_MORE), False, Retry.NOTHING, Retry.NOTHING),
    ("changed since it failed", attempt(S.FAILED, round_number=0), False, Retry.NOTHING, Retry.NOTHING),
]


@pytest.mark.parametrize(
    ("latest", "file_lost", "unnamed", "named"), [row[1:] for row in RETRIES], ids=[row[0] for row in RETRIES]
)
def test_a_retry_does_what_the_table_says(
    latest: Attempt | None, file_lost: bool, unnamed: Retry, named: Retry
) -> None:
    standing = clip_with(latest)
    for is_named, expected in ((False, unnamed), (True, named)):
        found = retry_of(standing, account=SANDBOX.name, named=is_named, file_lost=file_lost, max_attempts=3)
        assert found is expected


def test_a_clip_that_used_its_attempts_up_is_tried_anew_for_a_person() -> None:
    standing = clip_with(attempt(S.FAILED, failure=ONCE_MORE))
    found = retry_of(standing, account=SANDBOX.name, named=False, file_lost=False, max_attempts=1)
    assert found is Retry.ANEW


def test_a_clip_of_a_production_whose_account_is_not_known_waits_once_more() -> None:
    standing = clip_with(attempt(S.TIMED_OUT))
    found = retry_of(standing, account=None, named=True, file_lost=False, max_attempts=3)
    assert found is Retry.RESUME


@given(standings, accounts, st.booleans(), st.booleans())
def test_a_retry_pays_for_another_only_where_nothing_is_open(
    standing: ClipStanding, account: Account, named: bool, file_lost: bool
) -> None:
    latest = standing.latest
    found = retry_of(standing, account=account.name, named=named, file_lost=file_lost, max_attempts=3)
    if found is Retry.ANEW:
        assert latest is None or not latest.live
        assert not standing.delivered
    if found is Retry.GIVE_UP_AND_ANEW:
        assert named
        assert latest is not None
        assert latest.state is S.AMBIGUOUS or latest.account.name != account.name
    if not named:
        assert found not in (Retry.FETCH_LOST, Retry.GIVE_UP_AND_ANEW)
