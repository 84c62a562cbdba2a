"""``python -m benchmarks.object_stores``: what it takes to store and fetch videos on S3 with s3fs, which this project uses, and with obstore.

The S3 is moto's server, in a process of its own on this machine: it has no network to wait for, and its own time is the same for
both. So the CPU says what a driver costs a worker, and the time what of that could ever be noticed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers.environments import HERE, python_of

console = Console(stderr=not sys.stdout.isatty())
PEER = "obstore"
BUCKET = "videos"
SERVER = (
    "import time\n"
    "from sora_pipeline_tests.object_stores.s3 import ObjectStore\n"
    "print(ObjectStore().url, flush=True)\n"
    "time.sleep(100_000)\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table."""
    options = _options().parse_args(arguments)
    with _store() as url, console.status("storing and fetching"):
        done = subprocess.run(
            [
                str(python_of(PEER)),
                str(HERE / "object_store_drivers.py"),
                url,
                BUCKET,
                *("--files", str(options.files), "--mib", str(options.mib)),
                *("--threads", str(options.threads), "--rounds", str(options.rounds)),
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    measured = json.loads(done.stdout)
    console.print(_table(measured, options))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2))
    return 0


@contextmanager
def _store() -> Iterator[str]:
    """The address of an S3 with a bucket, in a process of its own."""
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def _table(measured: dict[str, dict[str, dict[str, float]]], options: Any) -> Table:
    title = f"{options.files} files of {options.mib:g} MiB, {options.threads} threads, medians of {options.rounds} rounds"
    table = Table("a file", "s3fs", "obstore", "s3fs / obstore", title=title)
    for what in ("store", "fetch"):
        for unit, shown in (("wall_ms", "time"), ("cpu_ms", "CPU")):
            ours, theirs = measured["s3fs"][what][unit], measured["obstore"][what][unit]
            table.add_row(f"{what}, {shown}", f"{ours:.1f} ms", f"{theirs:.1f} ms", f"{ours / theirs:.2f}")
    return table


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.object_stores", description=__doc__)
    parser.add_argument("--files", type=int, default=100, help="files of a round")
    parser.add_argument("--mib", type=float, default=4.0, help="size of a file; a clip has 1 to 10 MiB")
    parser.add_argument("--threads", type=int, default=8, help="files that are on their way at once")
    parser.add_argument("--rounds", type=int, default=3, help="how often both are measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
