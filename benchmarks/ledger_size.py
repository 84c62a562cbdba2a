"""``python -m benchmarks.ledger_size``: what the ledger's hot questions and transitions take at a million attempts.

On SQLite, and on PostgreSQL where ``--postgresql`` names an empty database. Medians of one machine at one time.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.many_attempts import ACCOUNT, ATTEMPTS, Sizes, fill, key_of, production_of
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.ledger.database import LedgerError

console = Console(stderr=not sys.stdout.isatty())
Timings = dict[str, float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill a ledger on each database and time it; returns 2 where a database cannot be used."""
    options = _options().parse_args(arguments)
    results: dict[str, Timings] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            results["SQLite"] = measured(f"sqlite:///{Path(folder) / 'ledger.db'}", options.attempts)
        if options.postgresql:
            results["PostgreSQL"] = measured(options.postgresql, options.attempts)
    except LedgerError as problem:
        console.print(f"error: {problem}", highlight=False)
        return 2
    console.print(_table(results, options.attempts))
    if options.json:
        options.json.write_text(json.dumps({"attempts": options.attempts, "milliseconds": results}, indent=2))
    return 0


def measured(url: str, attempts: int) -> Timings:
    """Milliseconds by what was asked."""
    ledger = Ledger(url)
    if ledger.productions.all():
        raise LedgerError(f"the ledger at {ledger.database.shown_url} is in use; name an empty database")
    with console.status(f"filling {ledger.database.shown_url} with {attempts:,} attempts"):
        sizes = Sizes.of(attempts)
        fill(ledger, sizes)
    timings = {name: _median_ms(call) for name, call in _calls(ledger, sizes).items()}
    ledger.close()
    return timings


def _calls(ledger: Ledger, sizes: Sizes) -> Mapping[str, Callable[[], object]]:
    attempts, clips = ledger.attempts, ledger.clips
    newest = production_of(sizes.clips, sizes)
    waiting = iter(range(sizes.clips, 0, -1))
    in_flight = iter(attempts.live(AttemptState.IN_FLIGHT))
    limits = Limits(max_in_flight=sizes.clips, max_attempts=3, daily_micros=10**15)

    def reserve() -> None:
        batch = [key_of(next(waiting), sizes) for _ in range(50)]
        attempts.reserve(dict.fromkeys(batch, 1), account=ACCOUNT, batch_id="new", limits=limits, lease_s=60)

    def succeed() -> None:
        attempts.succeed(
            next(in_flight).attempt_id,
            output_url="https://videos.example.com/1.mp4",
            expires_at=None,
            provider_status="completed",
            model_returned=None,
        )

    return {
        "what is pending (dispatch, each tick)": lambda: clips.pending(3, pipeline="", account=ACCOUNT.name),
        "slots taken (dispatch, each tick)": lambda: attempts.slots_taken(ACCOUNT.name),
        "500 predictions that are due (poll, each tick)": lambda: attempts.due(
            500, account=ACCOUNT.name, pipeline=""
        ),
        "what ended unreported (poll, each tick)": lambda: attempts.unreported(""),
        "progress of a production (run, each second)": lambda: clips.counts(newest, 3),
        "money of a production": lambda: ledger.money.of_production(newest),
        "money of today": lambda: ledger.money.of_today(ACCOUNT.name),
        "last 10 ends (breaker)": lambda: attempts.last_ends(ACCOUNT.name, 10, since=None),
        "reserve a batch of 50": reserve,
        "one transition": succeed,
        "heartbeat of a run": lambda: attempts.heartbeat("run-1", 60),
        "cost report by day and model": lambda: ledger.money.report(["day", "model"]),
    }


def _median_ms(call: Callable[[], object], times: int = 5) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return round(statistics.median(taken), 2)


def _table(results: Mapping[str, Timings], attempts: int) -> Table:
    table = Table(title=f"{attempts:,} attempts, milliseconds")
    table.add_column("question or transition")
    for name in results:
        table.add_column(name, justify="right")
    for what in next(iter(results.values())):
        table.add_row(what, *(f"{timings[what]:.1f}" for timings in results.values()))
    return table


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger_size", description=__doc__)
    parser.add_argument("--attempts", type=int, default=ATTEMPTS, help="how many attempts the ledger has")
    parser.add_argument("--postgresql", metavar="URL", help="SQLAlchemy URL of an empty PostgreSQL database")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
