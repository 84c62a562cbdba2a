"""``python -m benchmarks.manifest_size``: what large manifests take in seconds and memory, beside pandas merely reading the file.

CSV and Parquet manifests of rows with a prompt, an id, a duration, a size and a carried column, without images. Each step is a fresh
process, one after the other, on a home of its own: ``check`` is ``sora-pipeline check``; ``read`` is what the asset ``prompt_manifest``
does, registration in an SQLite ledger and the snapshot in the output included, but for Dagster's partitions and events. Seconds are
those of the whole process, imports included; memory is the most that was resident.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks.manifest_steps import COLUMNS, PANDAS, STEPS, Usage
from benchmarks.reporting import (
    console,
    end_in_order_when_told,
    folder_of,
    machine_sentence,
    print_table,
    run_as_program,
    write_json,
)

SIZES = (100_000, 1_000_000)
FORMATS = ("csv", "parquet")
PROMPT = "A slow dolly shot through a neon-lit market at night, rain on the stalls, steam rising, number"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each step with each manifest."""
    options = _options().parse_args(arguments)
    end_in_order_when_told()
    found: dict[str, dict[str, Usage]] = {}
    with folder_of(options) as folder, console.status("") as status:
        for rows in options.rows or SIZES:
            for kind in options.format or FORMATS:
                status.update(f"writing {rows:,} rows as {kind}")
                manifest = write_manifest(folder / f"rows-{rows}.{kind}", rows)
                measured = found[f"{rows:,} rows, {kind}"] = {}
                for step in STEPS:
                    status.update(f"{rows:,} rows, {kind}: {step}")
                    measured[step] = measure(step, manifest, folder / f"{rows}-{kind}-{len(measured)}")
    print_table(_table(found))
    usage = {name: {step: asdict(each) for step, each in steps.items()} for name, steps in found.items()}
    write_json(options.json, {"manifests": usage})
    return 0


def write_manifest(path: Path, rows: int) -> Path:
    """A manifest, as CSV or Parquet by its ending; written some thousand rows at a time, so that this process stays small."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for stretch in _stretches(rows):
                writer.writerows(stretch)
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (pa.string(), pa.string(), pa.int64(), pa.string(), pa.string())
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    with pq.ParquetWriter(path, schema) as written:
        for stretch in _stretches(rows):
            columns = [list(column) for column in zip(*stretch, strict=True)]
            written.write_table(pa.table(columns, schema=schema))
    return path


def _stretches(rows: int, most: int = 50_000) -> Iterator[list[tuple[str, str, int, str, str]]]:
    for begin in range(0, rows, most):
        yield [
            (f"clip-{n:07d}", f"{PROMPT} {n}", (4, 8, 12)[n % 3], "720x1280", f"campaign-{n % 50}")
            for n in range(begin, min(begin + most, rows))
        ]


def measure(step: str, manifest: Path, home: Path) -> Usage:
    """Take a step in a fresh process."""
    home.mkdir()
    figures = home / "usage.json"
    names = ("DAGSTER_HOME", "SORA_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    environment |= {"DAGSTER_HOME": str(home / "dagster"), "SORA_OUTPUT": str(home / "output")}
    command = [sys.executable, "-m", "benchmarks.manifest_steps", step, str(manifest), str(figures)]
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    return Usage(**json.loads(figures.read_text()))


def _table(found: Mapping[str, Mapping[str, Usage]]) -> Table:
    table = Table(
        title=f"Manifests; {machine_sentence()}", box=box.MARKDOWN, title_justify="left", expand=False
    )
    for name in ("manifest", "step", "seconds", "of CPU", "x pandas", "peak MiB", "x pandas"):
        table.add_column(name, justify="left" if name in ("manifest", "step") else "right")
    for manifest, steps in found.items():
        pandas = steps[PANDAS]
        for step, usage in steps.items():
            table.add_row(
                manifest,
                step,
                f"{usage.wall_s:.1f}",
                f"{usage.cpu_s:.1f}",
                f"{usage.cpu_s / pandas.cpu_s:.1f}",
                f"{usage.peak_mib:.0f}",
                f"{usage.peak_mib / pandas.peak_mib:.2f}",
            )
    return table


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.manifest_size", description=__doc__)
    parser.add_argument("--rows", type=int, action="append", metavar="N", help="so many rows; repeatable")
    parser.add_argument("--format", choices=FORMATS, action="append", help="only this; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this new folder and leave it")
    return parser


if __name__ == "__main__":
    run_as_program(main)
