"""``python -m benchmarks.looks``: what one look at a production takes, by how many clips it has.

CPU time of this process (with PostgreSQL the server's is not in it, so the wall time is shown as well): the median of a few
looks at a production of which half is delivered, a thousand clips at most are under way, and the rest still waits.
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

from benchmarks.many_attempts import ACCOUNT, Sizes, fill, key_of, production_of
from sora_pipeline.admission.holds import still_to_pay_usd
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.production.progress import progress_of
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.settings import Settings

console = Console(stderr=not sys.stdout.isatty())
TIMES = 5
MOST_LIVE = 1000
Timings = dict[str, tuple[float, float]]
"""By what was asked: milliseconds of CPU, and of wall time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill a ledger of each size and look at it."""
    options = _options().parse_args(arguments)
    found: dict[int, Timings] = {}
    for clips in options.clips:
        with tempfile.TemporaryDirectory() as folder:
            found[clips] = measured(options.ledger or f"sqlite:///{Path(folder) / 'ledger.db'}", clips)
    console.print(_table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))
    return 0


def measured(url: str, clips: int) -> Timings:
    """Milliseconds by what was asked."""
    ledger = Ledger(url)
    with console.status(f"filling {ledger.database.shown_url} with {clips:,} clips"):
        sizes = Sizes(clips, live=min(MOST_LIVE, clips // 5), waiting=clips // 2, productions=1)
        fill(ledger, sizes)
    timings = {name: _median_ms(call) for name, call in _calls(ledger, sizes).items()}
    ledger.close()
    return timings


def _calls(ledger: Ledger, sizes: Sizes) -> Mapping[str, Callable[[], object]]:
    settings = Settings(provider=ACCOUNT.provider, api_key="none")
    catalogue = load_catalogue(None)
    production = ledger.productions.get(production_of(1, sizes))
    waiting = iter(range(sizes.clips, 0, -1))
    in_flight = iter(ledger.attempts.live(AttemptState.IN_FLIGHT))
    limits = Limits(max_in_flight=sizes.clips, max_attempts=3)

    def reserve() -> None:
        ledger.attempts.reserve(
            {key_of(next(waiting), sizes): 1}, account=ACCOUNT, batch_id="new", limits=limits, lease_s=60
        )

    def succeed() -> None:
        ledger.attempts.succeed(
            next(in_flight).attempt_id,
            output_url="https://videos.example.com/1.mp4",
            expires_at=None,
            provider_status="completed",
            model_returned=None,
        )

    return {
        "progress (`run`, each second)": lambda: progress_of(ledger, production, settings, catalogue),
        "still to pay (`status`)": lambda: still_to_pay_usd(ledger, production, settings, catalogue),
        "the next 500 pending clips": lambda: ledger.clips.pending_clips(3, pipeline="", limit=500),
        "reserve one clip": reserve,
        "one transition": succeed,
    }


def _median_ms(call: Callable[[], object]) -> tuple[float, float]:
    call()  # SQLAlchemy compiles each statement once
    cpu, wall = [], []
    for _ in range(TIMES):
        began, began_wall = time.process_time(), time.perf_counter()
        call()
        cpu.append((time.process_time() - began) * 1000)
        wall.append((time.perf_counter() - began_wall) * 1000)
    return round(statistics.median(cpu), 2), round(statistics.median(wall), 2)


def _table(found: Mapping[int, Timings]) -> Table:
    table = Table(title="milliseconds of CPU (of wall time)")
    table.add_column("question or transition")
    for clips in found:
        table.add_column(f"{clips:,} clips", justify="right")
    for what in next(iter(found.values())):
        table.add_row(what, *("{:.1f} ({:.1f})".format(*timings[what]) for timings in found.values()))
    return table


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.looks", description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000, 100_000], metavar="N")
    parser.add_argument(
        "--ledger", metavar="URL", help="of an empty PostgreSQL database, for one size at a time; else SQLite"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
