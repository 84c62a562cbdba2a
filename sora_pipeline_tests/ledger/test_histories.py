"""Histories that nobody thought of: whatever happens in whatever order, nothing is paid twice and all that is paid counts."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, insert, update

from sora_pipeline.automation.planning import plan_recovery
from sora_pipeline.ledger import Account, AttemptState, Ledger, Limits
from sora_pipeline.ledger.clocks import FURTHEST_S
from sora_pipeline.ledger.counters import count_production
from sora_pipeline.ledger.schema import attempts as attempts_table
from sora_pipeline.ledger.schema import clips as clips_table
from sora_pipeline.ledger.types import LIVE_STATES, SLOT_STATES
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.ledger.world import (
    DEADLINE_S,
    DOLLAR,
    LEASE_S,
    POLL_S,
    REAL,
    SANDBOX,
    SECOND,
    VIDEO,
    Clock,
    World,
    clip,
)

CLIPS = ["a", "b", "c"]
PROMPTS = ["a cat", "a dog"]
OWNERS = ["run 1", "run 2"]
PRODUCTIONS = ["monday", "tuesday"]
ACCOUNTS = [REAL, SECOND, SANDBOX]
BUDGET = Decimal(15)
DAILY = 9
HOUR = 3600.0
ANSWERS = [
    "accepted",
    "accepted, answer lost",
    "accepted, run died",
    "answer lost",
    "run died",
    "later",
    "refused",
]
GOOD_STEP = {
    AttemptState.RESERVED: "send",
    AttemptState.SUBMITTING: "accepted",
    AttemptState.IN_FLIGHT: "completed",
    AttemptState.SUCCEEDED: "collect",
    AttemptState.TIMED_OUT: "resume",
    AttemptState.AMBIGUOUS: None,
}
ODD_STEPS = {
    AttemptState.RESERVED: ["claim", "extend", "release"],
    AttemptState.SUBMITTING: [*ANSWERS[1:], "send"],
    AttemptState.IN_FLIGHT: ["processing", "failed", "failed for good", "late"],
    AttemptState.SUCCEEDED: ["reject", "expect", "completed", "failed"],
    AttemptState.TIMED_OUT: ["completed", "failed for good"],
    AttemptState.AMBIGUOUS: ["send", "give up", *ANSWERS],
}


# ---- the two ways to say which clips are pending


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """Any attempts that the ledger's rules allow for one clip."""
    rounds = draw(st.lists(st.integers(1, 3), max_size=5).map(sorted))
    made = [
        {
            "round": each,
            "state": draw(st.sampled_from(["failed", "collected"])),
            "retryable": draw(st.sampled_from([True, False, None])),
            "prompt": draw(st.sampled_from(PROMPTS)),
        }
        for each in rounds
    ]
    if made and draw(st.booleans()):
        made[-1]["state"] = draw(st.sampled_from(LIVE_STATES))  # none can be begun after a live one
    return {
        "prompt": draw(st.sampled_from(PROMPTS)),
        "round": draw(st.integers(max(rounds, default=1), 4)),
        "active": draw(st.booleans()),
        "cancelled_round": draw(st.sampled_from([None, None, 1, 2, 3, 4])),
        "attempts": made,
    }


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(clips=st.lists(histories(), min_size=1, max_size=12), max_attempts=st.integers(1, 4))
def test_query_and_standing_agree_on_what_is_pending(
    empty: Callable[[], Ledger], clips: list[dict[str, Any]], max_attempts: int
) -> None:
    ledger = empty()
    worlds = [World(ledger, Clock(), name=name, pipeline=name) for name in ("monday", "tuesday")]
    ids = [f"clip-{number}" for number in range(len(clips))]
    for world, mine in zip(worlds, (clips, clips[::-1]), strict=True):
        world.limits = Limits(100, max_attempts)
        world.register(*(clip(clip_id, each["prompt"]) for clip_id, each in zip(ids, mine, strict=True)))
        with ledger.database.write() as connection:
            for clip_id, each in zip(ids, mine, strict=True):
                _write_history(connection, world, clip_id, each)
            count_production(connection, world.production_id)
    for world in worlds:
        expected = [
            clip_id for clip_id, standing in world.standings(*ids).items() if standing.pending(max_attempts)
        ]
        assert world.pending() == expected
        assert ledger.clips.pending(max_attempts, pipeline=world.pipeline) == world.keys(*expected)
    require_right_counters(ledger)
    both = [key for world in worlds for key in world.keys(*world.pending())]
    assert ledger.clips.pending(max_attempts) == both


def _write_history(connection: Connection, world: World, clip_id: str, history: dict[str, Any]) -> None:
    key = world.key(clip_id)
    connection.execute(
        update(clips_table)
        .where(clips_table.c.clip_key == key)
        .values(
            round=history["round"],
            active=history["active"],
            cancelled_round=history["cancelled_round"],
        )
    )
    for position, attempt in enumerate(history["attempts"], 1):
        row = attempt | {"fingerprint": clip("", attempt["prompt"]).fingerprint, "number": position}
        row |= {"clip_key": key, "production_id": world.production_id, "batch_id": "b"}
        row |= {
            "account": "sandbox",
            "provider": "sandbox",
            "simulated": True,
            "model": "m",
            "cost_micros": 1,
        }
        # A failure says why, and whether that can be tried again.
        row |= {"error_kind": "oops"} if attempt["state"] == "failed" else {"retryable": None}
        del row["prompt"]
        connection.execute(insert(attempts_table).values(**row, reserved_at=world.clock()))


# ---- any interleaving


class Runs(RuleBasedStateMachine):
    """Runs, sensors, people and providers that bill each submit they accept, in any order.

    Two productions share clip ids, and each goes from account to account as a person says: real ones and the sandbox.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        assert isinstance(ledger.now, Clock)
        self.ledger, self.clock, self.attempts = ledger, ledger.now, ledger.attempts
        self.limits = Limits(max_in_flight=2, max_attempts=2, daily_micros=DAILY * DOLLAR)
        self.billed: Counter[int] = Counter()  # attempt: submits that the provider accepted
        self.on_the_wire: list[int] = []  # submits that were sent and not answered yet
        self.collected: set[int] = set()
        self.delivered: dict[str, set[str]] = {}  # clip key: fingerprints
        self.account_of: dict[int, Account] = {}  # attempt: who it was reserved for
        self.paused: set[str] = set()  # productions and accounts
        self.withdrawn: set[int] = set()  # submits that were refused for now, and are reservations again
        self.worlds = {
            name: World(self.ledger, self.clock, name=name, pipeline=name, budget=BUDGET)
            for name in PRODUCTIONS
        }
        self.prompts = {name: dict.fromkeys(CLIPS, PROMPTS[0]) for name in PRODUCTIONS}
        for world in self.worlds.values():
            world.limits = self.limits
            world.register(*CLIPS)

    @initialize(accounts=st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(ACCOUNTS)))
    def begin(self, accounts: tuple[Account, Account]) -> None:
        for world, account in zip(self.worlds.values(), accounts, strict=True):
            world.account = account
            world.register(*CLIPS)

    # -- what runs and sensors do

    @rule(
        data=st.data(),
        name=st.sampled_from(PRODUCTIONS),
        clip_id=st.sampled_from(CLIPS),
        owner=st.sampled_from(OWNERS),
        steps=st.integers(1, 6),
        odd_step=st.integers(0, 6),
    )
    def work(
        self, data: st.DataObject, name: str, clip_id: str, owner: str, steps: int, odd_step: int
    ) -> None:
        """Bring a clip on, all well but for one step: else hardly any would get to the later states."""
        world = self.worlds[name]
        for number in range(steps):
            latest = world.standing(clip_id).latest
            if latest is None or not latest.live:
                self.reserve(data, world, clip_id, owner, odd=number == odd_step)
                continue
            step = GOOD_STEP[latest.state]
            if number == odd_step or step is None:
                step = data.draw(st.sampled_from(ODD_STEPS[latest.state]))
            self.take(data, latest.attempt_id, owner, step)

    def reserve(self, data: st.DataObject, world: World, clip_id: str, owner: str, *, odd: bool) -> None:
        everything = [key for each in self.worlds.values() for key in each.keys(*CLIPS)]
        keys = data.draw(st.permutations(everything)) if odd else [world.key(clip_id)]
        account = data.draw(st.sampled_from(ACCOUNTS), label="account") if odd else world.account
        force = odd and data.draw(st.booleans(), label="force")
        before = self.ledger.clips.standings(keys)
        reservation = self.attempts.reserve(
            dict.fromkeys(keys, data.draw(st.integers(1, 2), label="dollars") * DOLLAR),
            account=account,
            batch_id="batch",
            limits=self.limits,
            lease_s=LEASE_S,
            owner=owner if odd else None,
            force=force,
        )
        for attempt in reservation.reserved:
            standing = before[attempt.clip_key]
            delivered = self.delivered.get(attempt.clip_key, set())
            assert self.worlds[attempt.production_id].account == account == attempt.account
            assert standing.active
            assert not standing.cancelled
            assert attempt.production_id not in self.paused
            assert account.name not in self.paused
            assert force or standing.clip.fingerprint not in delivered
            assert force or standing.attempts_in_round < self.limits.max_attempts
            self.account_of[attempt.attempt_id] = account
        for key in reservation.elsewhere:
            production_id = before[key].production_id
            stopped = self.paused & {production_id, account.name}
            assert stopped or self.worlds[production_id].account != account
        if reservation.reserved:
            assert self.attempts.slots_taken(account.name) <= self.limits.max_in_flight
            assert self.ledger.money.of_today(account.name).committed_usd <= DAILY

    @property
    def any(self) -> World:
        """For steps of attempts, which are the same in all."""
        return self.worlds[PRODUCTIONS[0]]

    def take(self, data: st.DataObject, attempt_id: int, owner: str, step: str) -> None:
        match step:
            case "send":
                attempt = self.attempts.get(attempt_id)
                standing = self.ledger.clips.standings([attempt.clip_key])[attempt.clip_key]
                if self.any.begin_submit(attempt_id, owner):
                    assert attempt_id not in self.on_the_wire
                    assert not standing.cancelled
                    assert not self.paused & {attempt.production_id, attempt.account.name}
                    self.on_the_wire.append(attempt_id)
            case "claim":
                self.attempts.claim([attempt_id], owner, LEASE_S)
            case "extend":
                self.attempts.extend([attempt_id], LEASE_S)
            case "release":
                assert self.attempts.release(attempt_id)
            case "give up":
                retryable = data.draw(st.booleans(), label="resubmit")
                assert self.attempts.fail(attempt_id, "lost", "lost", retryable=retryable, reported=True)
            case "completed":
                assert self.any.succeed(attempt_id)
            case "processing":
                assert self.attempts.still_running(attempt_id, "processing", POLL_S)
            case "late":
                assert self.attempts.time_out(attempt_id, "late")
            case "resume":
                assert self.attempts.resume(attempt_id, DEADLINE_S)
            case "expect":
                self.attempts.expect_collect([attempt_id], LEASE_S)
            case "collect" if self.attempts.claim_collect(attempt_id, owner, LEASE_S):
                assert self.attempts.collect(attempt_id, VIDEO, run_id=owner)
                attempt = self.attempts.get(attempt_id)
                self.collected.add(attempt_id)
                self.delivered.setdefault(attempt.clip_key, set()).add(attempt.fingerprint)
            case "reject" if self.attempts.claim_collect(attempt_id, owner, LEASE_S):
                assert self.attempts.keep_rejected(
                    attempt_id, VIDEO, run_id=owner, kind="wrong_size", message="no"
                )
            case "failed" | "failed for good":
                retryable = step == "failed"
                assert self.attempts.fail(attempt_id, "oops", "no", retryable=retryable, reported=False)
            case answer if answer in ANSWERS and attempt_id in self.on_the_wire:
                self.answer(attempt_id, answer)

    def answer(self, attempt_id: int, answer: str) -> None:
        """The request arrives, however late, and its sender may or may not hear of it."""
        self.on_the_wire.remove(attempt_id)
        self.billed[attempt_id] += "accepted" in answer
        match answer:
            case "accepted":
                self.any.accept(attempt_id)
            case "accepted, answer lost" | "answer lost":
                self.attempts.park_ambiguous(attempt_id, "ambiguous_submit", "lost")
            case "later":
                self.attempts.withdraw(attempt_id, "connect", "refused")
                self.withdrawn.add(attempt_id)
            case "refused":
                self.attempts.fail(attempt_id, "content_policy", "no", retryable=False, reported=True)

    @precondition(lambda self: self.on_the_wire)
    @rule(data=st.data())
    def answer_whatever_became_of_it(self, data: st.DataObject) -> None:
        """A run that was only slow hears the answer after somebody has parked or given up its attempt."""
        attempt_id = data.draw(st.sampled_from(self.on_the_wire))
        self.answer(attempt_id, data.draw(st.sampled_from(ANSWERS)))

    # -- meanwhile

    @rule(data=st.data(), seconds=st.sampled_from([POLL_S, LEASE_S + 1, DEADLINE_S]))
    def time_passes(self, data: st.DataObject, seconds: float) -> None:
        """Leases run out, a sensor parks what their runs were sending, and run_lock runs say so."""
        self.clock.turn(seconds)
        match data.draw(st.sampled_from(["look", "heartbeat", "report", "nothing"])):
            case "look":
                for attempt in self.attempts.live(AttemptState.SUBMITTING):
                    if attempt.lease.until and attempt.lease.until < self.clock():
                        self.attempts.park_ambiguous(attempt.attempt_id, "ambiguous_submit", "the run died")
            case "heartbeat":
                self.attempts.heartbeat(data.draw(st.sampled_from(OWNERS)), LEASE_S)
            case "report":
                pipeline = data.draw(st.sampled_from([None, *PRODUCTIONS]))
                unreported = [each.attempt_id for each in self.attempts.unreported(pipeline)]
                self.attempts.report(unreported)
                self.attempts.give_up_fetching(unreported)

    @rule(seconds=st.sampled_from([-HOUR, HOUR]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(
        data=st.data(),
        name=st.sampled_from(PRODUCTIONS),
        how=st.sampled_from(["retry", "edit a row", "drop a row", "another account"]),
    )
    def a_person_interferes(self, data: st.DataObject, name: str, how: str) -> None:
        clip_id = data.draw(st.sampled_from(CLIPS))
        world, prompts = self.worlds[name], self.prompts[name]
        if how == "retry":
            self.ledger.clips.new_round([world.key(clip_id)])
            return
        if how == "another account":
            world.account = data.draw(st.sampled_from(ACCOUNTS))
        else:
            prompts[clip_id] = data.draw(st.sampled_from(PROMPTS))
        rows = [clip(each, prompt) for each, prompt in prompts.items()]
        world.register(*(each for each in rows if each.clip_id != clip_id or how != "drop a row"))

    @rule(
        data=st.data(),
        name=st.sampled_from(PRODUCTIONS),
        how=st.sampled_from(["cancel a clip", "cancel all", "pause", "pause the account", "resume"]),
    )
    def a_person_stops_something(self, data: st.DataObject, name: str, how: str) -> None:
        paused, account = self.ledger.paused, self.worlds[name].account.name
        match how:
            case "cancel a clip" | "cancel all":
                keys = [self.worlds[name].key(data.draw(st.sampled_from(CLIPS)))]
                most = self.limits.max_attempts
                self.ledger.cancellations.cancel(name, most, None if how == "cancel all" else keys)
            case "pause":
                assert paused.pause_production(name) == (name not in self.paused)
                self.paused.add(name)
            case "pause the account":
                assert paused.pause_account(account) == (account not in self.paused)
                self.paused.add(account)
            case "resume":
                assert paused.resume_production(name) == (name in self.paused)
                assert paused.resume_account(account) == (account in self.paused)
                self.paused -= {name, account}

    # -- what holds at every moment

    @invariant()
    def nothing_is_reserved_for_what_a_person_stopped(self) -> None:
        assert set(self.ledger.paused.accounts()) == self.paused & {each.name for each in ACCOUNTS}
        for world in self.worlds.values():
            for attempt in world.all_attempts():
                if attempt.state is AttemptState.RESERVED and attempt.attempt_id not in self.withdrawn:
                    assert not self.paused & {attempt.production_id, attempt.account.name}
                    assert not world.standing(attempt.clip_id).cancelled

    @invariant()
    def nothing_is_paid_twice_and_all_that_is_paid_counts(self) -> None:
        assert max(self.billed.values(), default=0) <= 1
        for world in self.worlds.values():
            made = {each.attempt_id: each for each in world.all_attempts()}
            assert max(Counter(each.clip_id for each in made.values() if each.live).values(), default=0) <= 1
            for simulated in (True, False):  # each kind of dollars for itself
                billed = sum(
                    each.cost_usd
                    for number, each in made.items()
                    if self.billed[number] and each.account.simulated == simulated
                )
                if simulated == world.account.simulated:
                    assert billed <= world.committed() <= BUDGET
                    mine = [each for each in made.values() if each.account.simulated == simulated]
                    assert world.committed() == sum(
                        each.cost_usd for each in mine if each.live or each.billed
                    )
                assert billed <= BUDGET
            assert all(made[each].state == AttemptState.COLLECTED for each in self.collected if each in made)

    @invariant()
    def attempts_stay_with_their_account_and_their_kind(self) -> None:
        for world in self.worlds.values():
            for attempt in world.all_attempts():
                assert attempt.account == self.account_of[attempt.attempt_id]
                kind = attempt.account.simulated
                assert attempt.fingerprint in {clip("", each, simulated=kind).fingerprint for each in PROMPTS}
            for standing in world.standings(*CLIPS).values():
                if standing.delivered:
                    assert (
                        standing.delivered.account.simulated == world.account.simulated or not standing.active
                    )
        live = [each for world in self.worlds.values() for each in world.all_attempts() if each.live]
        slots = Counter(each.account.name for each in live if each.state in SLOT_STATES)
        assert {
            each.name: self.attempts.slots_taken(each.name) for each in ACCOUNTS if slots[each.name]
        } == slots
        at_providers = (AttemptState.IN_FLIGHT, AttemptState.SUCCEEDED, AttemptState.TIMED_OUT)
        opened = Counter(each.account for each in live if each.state in at_providers)
        found = self.attempts.open_accounts()
        assert {account: found.get(account, 0) for account in opened} == opened

    @invariant()
    def pending_is_what_the_standings_say(self) -> None:
        most = self.limits.max_attempts
        for world in self.worlds.values():
            standings = world.standings(*CLIPS)
            expected = {clip_id for clip_id in CLIPS if standings[clip_id].pending(most)}
            assert set(world.pending()) == expected
            for account in ACCOUNTS:
                mine = self.ledger.clips.pending(most, pipeline=world.pipeline, account=account.name)
                assert set(mine) == (set(world.keys(*expected)) if account == world.account else set())

    @invariant()
    def counters_are_what_a_full_count_gives(self) -> None:
        require_right_counters(self.ledger)

    @invariant()
    def no_clip_that_wants_something_is_overlooked(self) -> None:
        for world in self.worlds.values():
            unsettled = self.ledger.clips.unsettled(world.production_id)
            for clip_id, standing in world.standings(*CLIPS).items():
                under_way = standing.latest is not None and standing.latest.live
                wants = standing.active and (not standing.delivered or under_way)
                assert (world.key(clip_id) in unsettled) == wants

    def teardown(self) -> None:
        """Whatever the clock did: once the longest wait is over, everything live is somebody's to take up."""
        self.clock.turn(FURTHEST_S + 1)
        now = self.clock()
        for world in self.worlds.values():
            recovery = plan_recovery(
                self.attempts.live(AttemptState.RESERVED, AttemptState.SUBMITTING, pipeline=world.pipeline),
                now,
            )
            taken_up = [*recovery.lost, *(each for batch in recovery.unclaimed.values() for each in batch)]
            for account in ACCOUNTS:
                due = self.attempts.due(100, account=account.name, pipeline=world.pipeline)
                assert {each.account for each in due} <= {account}
                taken_up += due
            taken_up += self.attempts.unreported(world.pipeline)
            needy = [
                each.attempt_id
                for each in world.all_attempts()
                if each.state in (*SLOT_STATES, AttemptState.SUCCEEDED) and each.reported_at is None
            ]
            assert set(needy) <= {each.attempt_id for each in taken_up}
            assert {each.production_id for each in taken_up} <= {world.production_id}
        self.clock.turn(DEADLINE_S)
        for world in self.worlds.values():
            overdue = self.attempts.overdue_elsewhere(world.account.name, world.pipeline, limit=500)
            strayed = [
                each.attempt_id
                for each in world.all_attempts()
                if each.state == AttemptState.IN_FLIGHT
                and each.account != world.account
                and each.polling.deadline_at
                and each.polling.deadline_at < self.clock()
            ]
            assert {each.attempt_id for each in overdue} == set(strayed)


def test_no_interleaving_pays_twice_or_forgets_a_bill(empty: Callable[[], Ledger]) -> None:
    run_state_machine_as_test(
        lambda: Runs(empty()),
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            phases=set(Phase) - {Phase.explain},  # it traces every line, which takes minutes here
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
