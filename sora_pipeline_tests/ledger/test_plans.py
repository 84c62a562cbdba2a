"""A million attempts (in PostgreSQL a quarter of it): no question that is asked again and again looks at all of them, and no transition does."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from benchmarks.many_attempts import ACCOUNT, ATTEMPTS, BATCH, OTHER, Sizes, fill, key_of, production_of
from sora_pipeline.ledger import Attempt, AttemptState, Ledger, Limits, Plan
from sora_pipeline.ledger.batches import GENERATIONS
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.ledger.notifications import NotificationClaim
from sora_pipeline_tests.ledger.world import VIDEO

LIMITS = Limits(max_in_flight=100_000, max_attempts=3, daily_micros=10**15)
IDLE = replace(ACCOUNT, name="idle")
NEW = Plan("new", "", "/new.csv", "/new", ACCOUNT)
UNNAMED = replace(NEW, production_id="unnamed", output_uri="/unnamed", named=False)
LARGE = ("attempts", "clips", "batches")
PARTIAL = (
    "one_live_attempt",
    "live_by_state",
    "unreported_attempts",
    "waiting_clips",
    "unfinished_batches",
)
"""Indexes over the few rows that are at something: reading all of one is fine."""
OF_WHOLE_PRODUCTIONS = {
    "attempts.of_production",
    "cancellations.cancel",
    "clips.standings_of",
    "productions.record_snapshot",
    "money.report",
    "older.learn",
    "productions.record_amendments",
    "restore.insert",
    "surveys.at_one_moment",
}
"""They are about all that a production, or everybody, ever did, and are asked for by people."""

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Statement:
    """What one method sent to the database."""

    method: str
    sql: str
    parameters: Any


@contextmanager
def listening(ledger: Ledger) -> Iterator[tuple[list[tuple[str, Any]], list[str]]]:
    """The statements that are executed meanwhile, and how their transactions ended."""
    sent: list[tuple[str, Any]] = []
    ends: list[str] = []

    def note(_connection: Any, _cursor: Any, sql: str, parameters: Any, _context: Any, many: bool) -> None:
        # Many rows of one statement come together.
        one_of_many = many and not isinstance(parameters, dict)
        sent.append((sql, parameters[0] if one_of_many else parameters))

    def committed(_connection: Connection) -> None:
        ends.append("commit")

    listeners = [("before_cursor_execute", note), ("commit", committed)]
    for name, listener in listeners:
        event.listen(ledger.database.engine, name, listener)
    yield sent, ends
    for name, listener in listeners:
        event.remove(ledger.database.engine, name, listener)


class Calls:
    """Every public question and transition, asked as sensors and runs ask it."""

    def __init__(self, ledger: Ledger, sizes: Sizes) -> None:
        self.ledger = ledger
        self.attempts = ledger.attempts
        self.sizes = sizes
        self.waiting = [key_of(sizes.clips - number, sizes) for number in range(sizes.waiting)]
        self.old = [key_of(number, sizes) for number in range(1, 50)]
        self.production = production_of(sizes.clips, sizes)
        self._live = {state: ledger.attempts.live(state) for state in AttemptState}

    def one(self, state: AttemptState) -> Attempt:
        """An attempt in this state that no other call has touched."""
        return self._live[state].pop()

    def reserve(self) -> list[Attempt]:
        clips = [self.waiting.pop() for _ in range(50)]
        made = self.attempts.reserve(
            dict.fromkeys(clips, 1), account=ACCOUNT, batch_id="new", limits=LIMITS, lease_s=60
        )
        assert len(made.reserved) == 50
        return made.reserved

    def refused_to_move(self) -> None:
        with pytest.raises(LedgerError, match="predictions open"):
            self.ledger.accounts.use(ACCOUNT, "https://example.com/moved")

    def refused(self) -> None:
        with pytest.raises(LedgerError):
            self.ledger.restore.require_empty()

    def stop(self) -> None:
        clip = self.waiting.pop()
        stopped = self.attempts.stop({clip: 1}, ACCOUNT, batch_id="new", kind="terminated", message="m")
        assert stopped == 1

    def claim_due(self) -> None:
        due = self.attempts.claim_due(50, account=ACCOUNT.name, pipeline="", for_s=60, overdue_s=10)
        assert len(due) == 50

    def transitions(self) -> Mapping[str, Call]:
        """Each is one short transaction."""
        attempts, batches, one = self.attempts, self.ledger.batches, self.one
        begin = {"lease_s": 60, "request_summary": {"model": "sora-2"}}
        accept = {"poll_url": None, "provider_status": "queued", "model_returned": None}
        rendered = {"expires_at": None, "provider_status": "completed", "model_returned": None}
        state = AttemptState
        ids = [one(state.RESERVED).attempt_id for _ in range(20)]
        in_flight = [one(state.IN_FLIGHT).attempt_id for _ in range(20)]
        delivered = self.attempts.of_clips(self.old)[0]
        planned = {
            "pipeline": "",
            "account": ACCOUNT.name,
            "asset": GENERATIONS,
            "keys": self.old,
            "lease_s": 60,
        }
        told = self.ledger.productions.get(self.production)
        return {
            "attempts.reserve": self.reserve,
            "attempts.stop": self.stop,
            "attempts.claim": lambda: attempts.claim(ids, "me", 60),
            "attempts.heartbeat": lambda: attempts.heartbeat("run-1", 60),
            "attempts.begin_submit": lambda: attempts.begin_submit(
                one(state.RESERVED).attempt_id, "me", **begin
            ),
            "attempts.withdraw": lambda: attempts.withdraw(
                one(state.SUBMITTING).attempt_id, "connect", "refused"
            ),
            "attempts.release": lambda: attempts.release(one(state.RESERVED).attempt_id),
            "attempts.accept": lambda: attempts.accept(
                one(state.SUBMITTING).attempt_id, prediction_id="p", deadline_s=60, first_poll_s=5, **accept
            ),
            "attempts.park_ambiguous": lambda: attempts.park_ambiguous(
                one(state.SUBMITTING).attempt_id, "k", "m"
            ),
            "attempts.fail": lambda: attempts.fail(
                one(state.IN_FLIGHT).attempt_id, "k", "m", retryable=True, reported=False
            ),
            "attempts.claim_due": self.claim_due,
            "attempts.give_back_polls": lambda: attempts.give_back_polls(in_flight),
            "attempts.still_running": lambda: attempts.still_running(
                one(state.IN_FLIGHT).attempt_id, None, 5
            ),
            "attempts.succeed": lambda: attempts.succeed(
                one(state.IN_FLIGHT).attempt_id, output_url="u", **rendered
            ),
            "attempts.time_out": lambda: attempts.time_out(one(state.IN_FLIGHT).attempt_id, "m"),
            "attempts.resume": lambda: attempts.resume(one(state.TIMED_OUT).attempt_id, 60),
            "attempts.claim_collect": lambda: attempts.claim_collect(
                one(state.SUCCEEDED).attempt_id, "me", 60
            ),
            "attempts.release_collect": lambda: attempts.release_collect(
                one(state.SUCCEEDED).attempt_id, "me"
            ),
            "attempts.fetch_again": lambda: attempts.fetch_again(one(state.SUCCEEDED).attempt_id),
            "attempts.note_problem": lambda: attempts.note_problem(one(state.SUCCEEDED).attempt_id, "k", "m"),
            "attempts.collect": lambda: attempts.collect(one(state.SUCCEEDED).attempt_id, VIDEO, run_id="me"),
            "attempts.keep_rejected": lambda: attempts.keep_rejected(
                one(state.SUCCEEDED).attempt_id, VIDEO, run_id="me", kind="k", message="m"
            ),
            "attempts.fetch_lost": lambda: attempts.fetch_lost(delivered.attempt_id),
            "attempts.note_verified": lambda: attempts.note_verified(ids),
            "attempts.report": lambda: attempts.report(ids),
            "attempts.give_up_fetching": lambda: attempts.give_up_fetching(ids),
            "attempts.expect_collect": lambda: attempts.expect_collect(ids, 60),
            "attempts.extend": lambda: attempts.extend(ids, 60),
            "attempts.reject": lambda: attempts.reject(ids[0], "a person marked it bad"),
            "clips.new_round": lambda: self.ledger.clips.new_round(self.old),
            "batches.plan": lambda: batches.plan("new", **planned),
            "batches.next_try": lambda: batches.next_try("new"),
            "batches.extend": lambda: batches.extend("new", 60),
            "batches.begin": lambda: batches.begin("new", "me", **planned),
            "batches.sign": lambda: batches.sign(
                "new", "me", lease_s=60, keys=self.old, wanted={self.production: 20}
            ),
            "batches.tell_to_leave": lambda: batches.tell_to_leave("new"),
            "batches.end": lambda: batches.end("new", "me"),
            "breakers.open": lambda: self.ledger.breakers.open(ACCOUNT.name, "k", "m"),
            "breakers.begin_probe": lambda: self.ledger.breakers.begin_probe(ACCOUNT.name, "batch-1"),
            "breakers.probe_another": lambda: self.ledger.breakers.probe_another(ACCOUNT.name),
            "breakers.close": lambda: self.ledger.breakers.close(ACCOUNT.name),
            "paused.pause_production": lambda: self.ledger.paused.pause_production("new"),
            "paused.resume_production": lambda: self.ledger.paused.resume_production("new"),
            "paused.pause_account": lambda: self.ledger.paused.pause_account(OTHER),
            "paused.resume_account": lambda: self.ledger.paused.resume_account(OTHER),
            "verdicts.record": lambda: self.ledger.verdicts.record(
                self.production, [("rows", False, True, "s")]
            ),
            "turns.take": lambda: self.ledger.turns.take(OTHER, 60),
            "pauses.pause": lambda: self.ledger.pauses.pause(ACCOUNT.name, 10),
            "pauses.lift": lambda: self.ledger.pauses.lift(ACCOUNT.name, "stop"),
            "productions.request": lambda: self.ledger.productions.request(NEW),
            "productions.record_problem": lambda: self.ledger.productions.record_problem("new", "e"),
            "productions.set_budget": lambda: self.ledger.productions.set_budget("new", None),
            "accounts.use": lambda: self.ledger.accounts.use(IDLE, "https://example.com/moved"),
            "pipelines.show": lambda: self.ledger.pipelines.show("", {"account": ACCOUNT.name}),
            "productions.claim_publish": lambda: self.ledger.productions.claim_publish(
                self.production, "me", 60
            ),
            "productions.record_published": lambda: self.ledger.productions.record_published(
                self.production, 10**6, "me"
            ),
            "productions.release_publish": lambda: self.ledger.productions.release_publish(
                self.production, "me"
            ),
            "notifications.claim": lambda: self.ledger.notifications.claim(told, "state"),
            "notifications.give_back": lambda: self.ledger.notifications.give_back(
                NotificationClaim(self.production, told.change_seq, "state", (0, None))
            ),
        }

    def questions(self) -> Mapping[str, Call]:
        ledger, attempts, old = self.ledger, self.attempts, self.old
        batches = [f"batch-{self.sizes.settled // BATCH + number}" for number in range(60)]
        productions = ledger.productions
        wanted = [standing.clip for standing in ledger.clips.standings(old).values()]
        others = [replace(each, clip_id=f"new-{each.clip_id}") for each in wanted]
        return {
            "attempts.due": lambda: attempts.due(5000, account=ACCOUNT.name, pipeline=""),
            "attempts.next_due_s": lambda: attempts.next_due_s(IDLE.name, ""),
            "attempts.get": lambda: attempts.get(1),
            "attempts.of_ids": lambda: attempts.of_ids(range(1, 50)),
            "attempts.live": lambda: attempts.live(
                AttemptState.RESERVED, AttemptState.SUBMITTING, pipeline=""
            ),
            "attempts.unreported": attempts.unreported,
            "attempts.unreported of a pipeline": lambda: attempts.unreported(""),
            "attempts.unshown_submits": lambda: attempts.unshown_submits(""),
            "attempts.ended_ids": lambda: attempts.ended_ids(""),
            "attempts.rendering": lambda: attempts.rendering(""),
            "attempts.overdue_elsewhere": lambda: attempts.overdue_elsewhere(OTHER, "", limit=500),
            "attempts.open_accounts": attempts.open_accounts,
            "attempts.open_accounts of a pipeline": lambda: attempts.open_accounts(pipeline=""),
            "attempts.open_accounts of a production": lambda: attempts.open_accounts(
                production_id=self.production
            ),
            "attempts.superseded": lambda: attempts.superseded(ACCOUNT.name, "", limit=20),
            "attempts.last_submits": lambda: attempts.last_submits(ACCOUNT.name, 3, since=None),
            "batches.last_ended": lambda: self.ledger.batches.last_ended(
                "", GENERATIONS, since=self.ledger.now() - timedelta(seconds=300)
            ),
            "attempts.last_submit_at": lambda: attempts.last_submit_at(ACCOUNT.name),
            "attempts.render_ends": lambda: attempts.render_ends(ACCOUNT.name, 300),
            "attempts.last_ends": lambda: attempts.last_ends(ACCOUNT.name, 10, since=None),
            "attempts.of_batches": lambda: attempts.of_batches(batches),
            "attempts.of_clips": lambda: attempts.of_clips(old),
            "attempts.slots_taken": lambda: attempts.slots_taken(ACCOUNT.name),
            "attempts.trouble": lambda: attempts.trouble(self.production, AttemptState.RESERVED),
            "attempts.trouble of videos": lambda: attempts.trouble(self.production, AttemptState.SUCCEEDED),
            "clips.standings": lambda: ledger.clips.standings(old),
            "clips.pending_clips": lambda: ledger.clips.pending_clips(3),
            "clips.pending_clips of an account": lambda: ledger.clips.pending_clips(
                3, pipeline="", account=ACCOUNT.name
            ),
            "clips.pending_clips of a production": lambda: ledger.clips.pending_clips(
                3, self.production, limit=1
            ),
            "clips.pending": lambda: ledger.clips.pending(3),
            "clips.pending of an account": lambda: ledger.clips.pending(3, pipeline="", account=ACCOUNT.name),
            "clips.pending_among": lambda: ledger.clips.pending_among(self.old, 3),
            "clips.productions_with_pending_clips": lambda: ledger.clips.productions_with_pending_clips(
                "", ACCOUNT.name
            ),
            "clips.carried_columns": lambda: ledger.clips.carried_columns([self.production]),
            "clips.named": lambda: ledger.clips.named("clip-1", ""),
            "productions.require_paid_once": lambda: ledger.productions.require_paid_once(UNNAMED, others),
            "clips.unsettled": lambda: ledger.clips.unsettled(self.production),
            "clips.ever_wanted": lambda: ledger.clips.ever_wanted(self.production, lambda _: None),
            "clips.begun_as_asked": lambda: ledger.clips.begun_as_asked(self.production, wanted),
            "clips.ended_as_asked": lambda: ledger.clips.ended_as_asked(self.production, wanted, 3),
            "clips.has_attempts": lambda: ledger.clips.has_attempts(self.production),
            "clips.paid_or_under_way": lambda: ledger.clips.paid_or_under_way(old),
            "clips.wanted_among": lambda: ledger.clips.wanted_among(
                self.production, [each.clip_id for each in wanted]
            ),
            "clips.standings_without": lambda: ledger.clips.standings_without(
                self.production, [each.clip_id for each in wanted]
            ),
            "clips.of_production": lambda: ledger.clips.of_production(self.production),
            "clips.pending of a production": lambda: ledger.clips.pending(3, self.production),
            "clips.counts": lambda: ledger.clips.counts(self.production, 3),
            "clips.pending_kinds": lambda: ledger.clips.pending_kinds(self.production, 3),
            "money.of_production": lambda: ledger.money.of_production(self.production),
            "money.of_today": lambda: ledger.money.of_today(ACCOUNT.name),
            "batches.tries": lambda: ledger.batches.tries("batch-1"),
            "batches.get": lambda: ledger.batches.get("batch-1"),
            "batches.unfinished": lambda: ledger.batches.unfinished(""),
            "breakers.get": lambda: ledger.breakers.get(ACCOUNT.name),
            "breakers.may_probe": lambda: [
                ledger.breakers.may_probe(each) for each in ledger.breakers.all_open()
            ],
            "breakers.against": lambda: ledger.breakers.against(ACCOUNT.name, "sora-2-pro"),
            "breakers.of_models": lambda: ledger.breakers.of_models(ACCOUNT.name),
            "breakers.all_open": lambda: ledger.breakers.all_open(),
            "breakers.closed_at": lambda: ledger.breakers.closed_at(ACCOUNT.name),
            "verdicts.counts": lambda: ledger.verdicts.counts(""),
            "verdicts.not_well": lambda: ledger.verdicts.not_well(""),
            "recent.ends": lambda: ledger.recent.ends(900),
            "recent.submits": lambda: ledger.recent.submits(900),
            "recent.slots": ledger.recent.slots,
            "recent.poll_delays_s": ledger.recent.poll_delays_s,
            "recent.charges": ledger.recent.charges,
            "recent.clip_counts": ledger.recent.clip_counts,
            "paused.accounts": ledger.paused.accounts,
            "pauses.left_s": lambda: ledger.pauses.left_s(ACCOUNT.name),
            "productions.get": lambda: productions.get(self.production),
            "productions.find": lambda: productions.find("new"),
            "productions.all": productions.all,
            "productions.requested": lambda: productions.requested(""),
            "productions.of_manifest": lambda: productions.of_manifest("/new.csv", ""),
            "productions.of_output": lambda: productions.of_output("/new"),
            "productions.amendments": lambda: productions.amendments(self.production),
            "accounts.use refused": self.refused_to_move,
            "accounts.require_place": lambda: ledger.accounts.require_place(ACCOUNT, "https://example.com"),
            "accounts.address_of": lambda: ledger.accounts.address_of(ACCOUNT.name),
            "pipelines.seen": lambda: ledger.pipelines.seen(""),
            "pipelines.at_work": lambda: ledger.pipelines.at_work(),
            "productions.unpublished": lambda: productions.unpublished(""),
            "notifications.unnotified": lambda: ledger.notifications.unnotified(
                datetime(2020, 1, 1, tzinfo=UTC), ""
            ),
            "restore.require_empty": self.refused,
            "older.is_of": ledger.older.is_of,
        }


def public_methods(ledger: Ledger) -> set[str]:
    return {
        f"{room}.{name}"
        for room, part in vars(ledger).items()
        if type(part).__module__.startswith("sora_pipeline.ledger.") and room != "database"
        for name in dir(type(part))
        if callable(getattr(part, name)) and not name.startswith("_")
    }


@pytest.mark.timeout(600)
@pytest.mark.services
@pytest.mark.parametrize("new_url", ["sqlite", "postgresql"], indirect=True)
def test_no_hot_statement_reads_all_attempts_or_all_clips(new_url: Callable[[], str]) -> None:
    url = new_url()
    ledger = Ledger(url)
    # PostgreSQL takes minutes to be filled, and plans for a quarter of it as it does for all.
    sizes = Sizes.of(ATTEMPTS)
    if url.startswith("postgresql"):
        sizes = replace(Sizes.of(ATTEMPTS // 4), live=sizes.live)
    fill(ledger, sizes)
    calls = Calls(ledger, sizes)
    for account in (ACCOUNT, IDLE):  # once in an account's life, its attempts are looked through
        ledger.accounts.use(account, "https://example.com")
    transitions, questions = calls.transitions(), calls.questions()
    covered = {name.split(" ")[0] for name in [*transitions, *questions]}
    assert covered | OF_WHOLE_PRODUCTIONS == public_methods(ledger)
    statements: list[Statement] = []
    for name, call in [*questions.items(), *transitions.items()]:
        with listening(ledger) as (sent, ends):
            call()
        assert ends == (["commit"] if name in transitions else []), f"{name} is no single transaction"
        statements += [Statement(name, sql, parameters) for sql, parameters in sent]
    with ledger.database.read() as connection:
        bad = [trouble for each in statements for trouble in troubles(connection, each)]
    if ledger.database.engine.dialect.name == "sqlite":
        # Nobody analyzes an SQLite ledger, unless a person does.
        with ledger.database.write() as connection:
            connection.execute(text("ANALYZE"))
        ledger.close()
        with ledger.database.read() as connection:
            bad += [trouble for each in statements for trouble in troubles(connection, each)]
    ledger.close()
    assert not bad, "\n\n".join(bad)


def troubles(connection: Connection, statement: Statement) -> Iterator[str]:
    """How the statement would read all of a large table, with its whole plan."""
    if not statement.sql.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
        return
    explain = _postgresql_plan if connection.dialect.name == "postgresql" else _sqlite_plan
    found, plan = explain(connection, statement)
    for each in found:
        yield f"{statement.method}: {each}\n{statement.sql}\n{plan}"


def _postgresql_plan(connection: Connection, statement: Statement) -> tuple[list[str], str]:
    rows = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement.sql}", statement.parameters)
    (answer,) = rows.scalar_one()
    found = []
    for node in _nodes(answer["Plan"]):
        table = node.get("Relation Name")
        whole_index = "Index Cond" not in node and node.get("Index Name") not in PARTIAL
        if (
            table in LARGE
            and "Bitmap" not in node["Node Type"]
            and "Scan" in node["Node Type"]
            and whole_index
        ):
            found.append(f"{node['Node Type']} of {table}")
    return found, json.dumps(answer["Plan"], indent=1)


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _nodes(child)


def _sqlite_plan(connection: Connection, statement: Statement) -> tuple[list[str], str]:
    plan = [
        row.detail
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
    ]
    aliases = (*LARGE, "tried", "later")
    found = [
        line
        for line in plan
        if (
            line.startswith(tuple(f"SCAN {name}" for name in aliases))
            and not line.endswith(tuple(f"INDEX {name}" for name in PARTIAL))
        )
        # Nearly all have the same account; only the newest ends are read in the order of an index.
        or (
            line.startswith("SEARCH attempts")
            and line.endswith("(account=?)")
            and "attempts_by_end" not in line
        )
        # And a production may have very many attempts.
        or (line.startswith("SEARCH attempts") and line.endswith("(production_id=?)"))
    ]
    return found, "\n".join(plan)
