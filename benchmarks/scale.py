"""``python -m benchmarks.scale``: a million clips, 5,000 slots and ten accounts, on a simulated clock and by the real planning functions.

Which clips a run owns (``plan_batch``), how slots are shared (``fair_shares``) and when a prediction is polled (``poll_schedule``) are the
pipeline's own; providers, processes and Dagster are simulated. Counted are transactions of the ledger, events of Dagster and requests,
and beside them stands what this machine's PostgreSQL takes (``--measure``), so that one sees which limit comes first.
"""

import argparse
import heapq
import json
import logging
import math
import random
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.databases import POSTGRESQL, NoServerError, database_of
from benchmarks.events import Variant, cost_of_clip
from benchmarks.polling import ANSWER_S, Learning
from sora_pipeline.automation.planning import plan_batch
from sora_pipeline.ledger.shares import fair_shares

console = Console(stderr=not sys.stdout.isatty(), width=140)

RUN_START_S = 6.0
"""From a request until a run submits: a sensor's tick, Dagster's queue and a process that starts."""
BATCH = 500
READY_SHOWN = 2_500
"""So many pending clips of an account are looked at for the next batch, as the dispatch sensor bounds its look."""
MINUTE_S = 60.0
TRANSACTIONS_OF_SUBMIT = 3
"""A turn, the intent (begin_submit), the answer (accept); the reservation is one for all slots that are filled at a time."""
TRANSACTIONS_OF_FETCH = 3
"""succeed, claim_collect, collect."""
EVENTS_OF_CLIP = 4
"""A planned materialization and a materialization, of generations and of videos."""
RENDER_SPREAD = 0.15


@dataclass(slots=True)
class Account:
    """An account with its pending clips, by production, and what it has under way."""

    number: int
    slots: int
    render_s: float
    pending: dict[str, deque[str]]
    taken: Counter[str] = field(default_factory=Counter)
    owned: dict[str, deque[str]] = field(default_factory=dict)
    starting: bool = False
    submits_from: float = 0.0
    busy_s: float = 0.0
    """Seconds that slots were taken, of all together."""
    busy_until_s: float = 0.0
    """The same, as it was at the last submit so far."""
    last_submit: float = 0.0
    changed_at: float = 0.0
    rule: Learning = field(default_factory=lambda: Learning(5.0))

    @property
    def in_flight(self) -> int:
        """Slots that are taken."""
        return self.taken.total()

    def take(self, production: str, slots: int, at: float) -> None:
        """Take so many slots for a production, or give them back."""
        self.busy_s += self.in_flight * (at - self.changed_at)
        self.changed_at = at
        self.taken[production] += slots
        if slots > 0:
            self.busy_until_s, self.last_submit = self.busy_s, at

    @property
    def left(self) -> int:
        """Clips that runs own and have not submitted."""
        return sum(map(len, self.owned.values()))


@dataclass(slots=True)
class Totals:
    """What was counted, and when the first submit and the last end were."""

    transactions: Counter[int] = field(default_factory=Counter)
    events: Counter[int] = field(default_factory=Counter)
    requests: Counter[int] = field(default_factory=Counter)
    runs: int = 0
    polls: int = 0
    ended: float = 0.0

    def note(self, at: float, *, transactions: int = 0, events: int = 0, requests: int = 0) -> None:
        """Count something at a time, by the minute."""
        minute = int(at // MINUTE_S)
        self.transactions[minute] += transactions
        self.events[minute] += events
        self.requests[minute] += requests


class Simulation:
    """Everything that happens, in order.

    Args:
        clips: How many, shared evenly among accounts and productions.
        slots: Of all accounts together.
        accounts: How many.
        productions: How many each account has.
        render_s: What a render takes about, by account from this up to twice as much.
        per_minute: Submits a minute at most, of an account.
        seed: Of everything left to chance.
    """

    def __init__(
        self,
        *,
        clips: int,
        slots: int,
        accounts: int,
        productions: int,
        render_s: float,
        per_minute: float,
        seed: int,
    ) -> None:
        self._chance = random.Random(seed)
        self._apart_s = MINUTE_S / per_minute
        self._happens: list[tuple[float, int, str, tuple[object, ...]]] = []
        self._serial = 0
        self.totals = Totals()
        self.accounts = [
            Account(
                number,
                slots // accounts,
                render_s * (1 + number / max(1, accounts - 1)),
                {
                    f"a{number}-p{each}": deque(
                        f"a{number}-p{each}:{clip:07}" for clip in range(clips // accounts // productions)
                    )
                    for each in range(productions)
                },
            )
            for number in range(accounts)
        ]

    def run(self) -> Totals:
        """Until the last clip has ended."""
        for account in self.accounts:
            self._plan(account, 0.0)
        while self._happens:
            at, _, what, facts = heapq.heappop(self._happens)
            getattr(self, f"_{what}")(at, *facts)
        return self.totals

    def _later(self, at: float, what: str, *facts: object) -> None:
        self._serial += 1
        heapq.heappush(self._happens, (at, self._serial, what, facts))

    def _plan(self, account: Account, at: float) -> None:
        """Request the next run, where the ones at work will soon have nothing left, as the dispatch sensor does."""
        if account.starting or account.left >= max(1, account.slots // 2):
            return
        ready: dict[str, str] = {}
        for production, clips in account.pending.items():
            for key in list(clips)[:BATCH] if len(clips) < BATCH else [clips[n] for n in range(BATCH)]:
                ready[key] = production
            if len(ready) >= READY_SHOWN:
                break
        order = {key: int(key.rpartition(":")[2]) + hash_of(production) for key, production in ready.items()}
        unserved = {production for production in ready.values() if not account.owned.get(production)}
        planned = plan_batch(ready, order, first=unserved, longest=BATCH)
        if planned is None:
            return
        production = ready[planned.first]
        for _ in planned.keys:
            account.pending[production].popleft()
        account.starting = True
        self.totals.runs += 1
        self.totals.note(
            at, transactions=4, events=len(planned.keys) + 10
        )  # planned materializations, and the run's own events
        self._later(at + RUN_START_S, "begin", account, production, planned.keys)

    def _begin(self, at: float, account: Account, production: str, keys: Sequence[str]) -> None:
        account.starting = False
        account.owned.setdefault(production, deque()).extend(keys)
        self._fill(account, at)
        self._plan(account, at)

    def _fill(self, account: Account, at: float) -> None:
        """Submit for every free slot, each production up to its share, no sooner than turns come."""
        waiting = {name: len(clips) for name, clips in account.owned.items() if clips}
        demands = {
            name: account.taken[name] + waiting.get(name, 0) for name in waiting.keys() | account.taken.keys()
        }
        shares = fair_shares(account.slots, demands)
        reserved = False
        for name in waiting:
            while (
                account.owned[name]
                and account.taken[name] < shares[name]
                and account.in_flight < account.slots
            ):
                key = account.owned[name].popleft()
                account.take(name, 1, at)
                account.submits_from = max(account.submits_from + self._apart_s, at)
                self._submit(account, name, key, account.submits_from)
                reserved = True
        if reserved:
            self.totals.note(at, transactions=1)

    def _submit(self, account: Account, production: str, _key: str, at: float) -> None:
        takes_s = account.render_s * math.exp(RENDER_SPREAD * self._chance.gauss(0, 1))
        self.totals.note(at, transactions=TRANSACTIONS_OF_SUBMIT, events=1, requests=1)
        due = at + account.rule.wait_s(0.0, at)
        self._later(due, "poll", account, production, at, takes_s, 0.0)

    def _poll(
        self,
        at: float,
        account: Account,
        production: str,
        accepted_at: float,
        takes_s: float,
        unfinished_s: float,
    ) -> None:
        self.totals.polls += 1
        age_s = at - accepted_at
        if age_s < takes_s:
            # A claim for all that is due together, and a note of each answer.
            self.totals.note(at, transactions=1, requests=1)
            due = at + ANSWER_S + account.rule.wait_s(age_s + ANSWER_S, at)
            self._later(due, "poll", account, production, accepted_at, takes_s, age_s + ANSWER_S)
            return
        account.rule.ended(unfinished_s, age_s + ANSWER_S)
        account.take(production, -1, at)
        self.totals.ended = max(self.totals.ended, at)
        # Planned and done, of the asset that fetches it; and the download.
        self.totals.note(at, transactions=TRANSACTIONS_OF_FETCH, events=2, requests=2)
        self._fill(account, at)
        self._plan(account, at)


def hash_of(production: str) -> int:
    """Where a production's partitions begin in Dagster's order: each is contiguous, and no two meet."""
    account, _, number = production.removeprefix("a").partition("-p")
    return (int(account) * 1_000 + int(number)) * 10_000_000


@dataclass(frozen=True, slots=True)
class Capacity:
    """What this machine takes a second, of everything in PostgreSQL on it."""

    transactions: float
    events: float


def measured_capacity(folder: Path, seconds: float = 5.0, threads: int = 8) -> Capacity:
    """Transactions of the ledger by several at once, and events of a range run.

    Raises:
        NoServerError: there is no PostgreSQL server.
    """
    from benchmarks.many_attempts import ACCOUNT
    from sora_pipeline.ledger import Ledger

    home = folder / "ledger"
    home.mkdir()
    with database_of(POSTGRESQL, home) as variables:
        ledger = Ledger(variables["SORA_LEDGER_URL"])
        until = time.perf_counter() + seconds

        def work(number: int) -> int:
            done = 0
            while time.perf_counter() < until:
                ledger.turns.take(f"{ACCOUNT.name}-{number}", 1e9)
                done += 1
            return done

        with ThreadPoolExecutor(threads) as pool:
            done = sum(pool.map(work, range(threads)))
        ledger.close()
    logging.disable(logging.WARNING)  # Dagster tells of each event
    events = cost_of_clip(Variant("PostgreSQL", database=POSTGRESQL), 300, folder / "events")
    return Capacity(done / seconds, 2 * 1000 / events["wall_ms"])


def figures_of(simulation: Simulation, capacity: Capacity | None) -> dict[str, float]:
    """For the table, and for scripts."""
    totals, accounts = simulation.totals, simulation.accounts
    figures = {
        "hours": totals.ended / 3600,
        "slots used until the last submit, %": 100
        * sum(each.busy_until_s for each in accounts)
        / sum(each.slots * each.last_submit for each in accounts),
        "runs": totals.runs,
        "polls a clip": 0.0,
        "ledger transactions a second, mean": totals.transactions.total() / totals.ended,
        "ledger transactions a second, busiest minute": max(totals.transactions.values()) / MINUTE_S,
        "Dagster events a second, mean": totals.events.total() / totals.ended,
        "Dagster events a second, busiest minute": max(totals.events.values()) / MINUTE_S,
        "requests a second, mean": totals.requests.total() / totals.ended,
    }
    if capacity is not None:
        figures["this machine's PostgreSQL: ledger transactions a second"] = capacity.transactions
        figures["one process: Dagster events a second into PostgreSQL"] = capacity.events
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, and say where the next limit is."""
    options = _options().parse_args(arguments)
    began = time.perf_counter()
    simulation = Simulation(
        clips=options.clips,
        slots=options.slots,
        accounts=options.accounts,
        productions=options.productions,
        render_s=options.render,
        per_minute=options.per_minute,
        seed=options.seed,
    )
    totals = simulation.run()
    capacity = None
    if options.measure:
        try:
            with tempfile.TemporaryDirectory() as folder:
                capacity = measured_capacity(Path(folder))
        except NoServerError as error:
            console.print(f"error: {error}", highlight=False)
            return 2
    figures = figures_of(simulation, capacity)
    figures["polls a clip"] = totals.polls / options.clips
    table = Table(
        title=f"{options.clips:,} clips, {options.slots:,} slots, {options.accounts} accounts of {options.productions} productions; "
        f"simulated in {time.perf_counter() - began:.0f} s",
        box=None,
    )
    table.add_column("", no_wrap=True)
    table.add_column("", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.1f}")
    console.print(table)
    if options.json:
        print(json.dumps(figures, indent=2))
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--slots", type=int, default=5_000, help="of all accounts together")
    parser.add_argument("--accounts", type=int, default=10)
    parser.add_argument("--productions", type=int, default=5, help="of each account")
    parser.add_argument(
        "--render",
        type=float,
        default=90,
        metavar="SECONDS",
        help="of the quickest account; the slowest takes twice as long",
    )
    parser.add_argument(
        "--per-minute", type=float, default=600, help="SORA_SUBMITS_PER_MINUTE of each account"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="also what PostgreSQL on this machine takes")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
