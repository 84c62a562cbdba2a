"""What the benchmarks say beside their tables: the machine they ran on, the files they write, the folder they work in."""

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from benchmarks.databases import POSTGRESQL, SQLITE

console = Console(stderr=not sys.stdout.isatty())
WIDTH = 190


def machine() -> dict[str, str | int | None]:
    """What the figures were measured on."""
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "dagster": version("dagster"),
        "sora_pipeline": version("sora-pipeline"),
    }


def machine_sentence() -> str:
    """The same for people, without a full stop."""
    of = machine()
    return f"{of['cores']} cores ({of['machine']}, {of['system']}), Python {of['python']}, Dagster {of['dagster']}"


def print_table(table: Table) -> None:
    """On standard output, as wide as it needs to be where that is no terminal."""
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def write_json(file: Path | None, content: Mapping[str, Any]) -> None:
    """All figures, and the machine, where a file is wanted."""
    if file is not None:
        file.write_text(json.dumps({"machine": machine(), **content}, indent=2) + "\n")


def end_in_order_when_told() -> None:
    """Let a polite kill end everything that was started, as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Where this project keeps its state, and where figures, picture and files go."""
    parser.add_argument(
        "--database",
        choices=[SQLITE, POSTGRESQL],
        default=SQLITE,
        help="of this project's ledger and Dagster's storage (sqlite)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them there, as SVG")
    add_file_options(parser)


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Where figures and files go, and settings to try."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this new folder and leave it")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="SORA_X=Y", help="try a setting of this project"
    )


def settings_of(options: argparse.Namespace) -> dict[str, str]:
    """The settings to try, by variable."""
    return dict(setting.split("=", 1) for setting in options.setting)


@contextlib.contextmanager
def folder_of(options: argparse.Namespace) -> Iterator[Path]:
    """The folder to work in: the one to keep, or one that is gone afterwards."""
    if options.keep is not None:
        options.keep.mkdir(parents=True)
        yield options.keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="sora-bench-") as name:
        yield Path(name)


def run_as_program(main: Callable[[], int]) -> NoReturn:
    """Run a benchmark, and end with its exit code."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started has been ended")
