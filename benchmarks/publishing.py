"""``python -m benchmarks.publishing``: what publishing a production takes, by how many rows it has, as a Markdown table.

Every figure is of a process of its own: its seconds of CPU and of wall time, without imports, and its peak memory. Beside it stands
what pandas takes only to read the ``metadata.parquet`` that was written. The ledger is SQLite; its rows are nearly all delivered.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.delivered_production import NAME, fill

HEADER = ("rows", "what", "CPU, s", "wall, s", "peak memory, MB")
KIB_IN_MB = 1024 / 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill a ledger of each size, and publish it for the first time and again."""
    options = _options().parse_args(arguments)
    if options.measure:
        print(json.dumps(_MEASURED[options.measure](options.folder)))
        return 0
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as temporary:
            folder = (options.folder or Path(temporary)) / str(rows)
            if not (folder / "filled").exists():
                _in_process("fill", folder)
            for what, measure in (
                ("publish", "publish"),
                ("publish again", "publish"),
                ("pandas reads it", "read"),
            ):
                cpu_s, wall_s, memory = _in_process(measure, folder)
                print(f"| {rows:,} | {what} | {cpu_s:.1f} | {wall_s:.1f} | {memory:.0f} |", flush=True)
    return 0


def _in_process(measure: str, folder: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.publishing", "--measure", measure, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


def _measured(call: Callable[[], Any]) -> list[float]:
    """Seconds of CPU and wall time, and the peak memory of this process in megabytes."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return [cpu, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB_IN_MB]


def _publish(folder: Path) -> list[float]:
    # Imported before the clock starts: a run's process has loaded them by then.
    import jinja2  # noqa: F401
    import pyarrow.compute
    import pyarrow.ipc
    import pyarrow.parquet  # noqa: F401

    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.publishing import publish
    from sora_pipeline.settings import Settings

    ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
    settings = Settings(provider="gptproto", api_key="none")
    return _measured(lambda: publish(ledger, NAME, settings, "benchmark"))


def _read(folder: Path) -> list[float]:
    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    return _measured(lambda: pd.read_parquet(folder / "out" / "metadata.parquet"))


def _fill(folder: Path) -> list[float]:
    rows = int(folder.name)
    folder.mkdir(parents=True)
    figures = _measured(lambda: fill(f"sqlite:///{folder / 'ledger.db'}", folder / "out", rows))
    (folder / "filled").touch()
    return figures


_MEASURED: dict[str, Callable[[Path], list[float]]] = {"publish": _publish, "read": _read, "fill": _fill}


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publishing", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument(
        "--folder",
        type=Path,
        help="keeps the ledgers and outputs there, and takes those that are there already",
    )
    parser.add_argument("--measure", choices=_MEASURED, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
