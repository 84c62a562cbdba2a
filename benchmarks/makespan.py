"""``python -m benchmarks.makespan``: the same clips made in three ways, and what each costs in time, CPU and memory.

The figures are of one machine at one time. Compare the ratios, and run it again where the machine was otherwise busy.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.contenders import CONTENDERS, PROJECT
from benchmarks.trial import Result, Task, try_contender

console = Console(stderr=not sys.stdout.isatty())


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the contenders one after the other; returns 1 where one of them failed."""
    options = _options().parse_args(arguments)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that everything started is ended, as on Ctrl-C
    task = Task(
        clips=options.clips,
        render_s=options.render,
        in_flight=options.in_flight,
        timeout_s=options.timeout,
        settings=dict(setting.split("=", 1) for setting in options.setting),
    )
    results: list[Result] = []
    try:
        with _folder(options.keep) as folder, console.status("") as status:
            for name in options.only or CONTENDERS:
                result = try_contender(CONTENDERS[name], task, folder / name, status.update)
                results.append(result)
                if result.problem:
                    console.print(f"[red]{name}: {result.problem}[/red]")
                    console.print(result.log_tail, markup=False, highlight=False)
    finally:  # an interrupted comparison still shows whom it got to
        if results:
            _report(task, results, options.json)
    return 1 if any(result.problem for result in results) else 0


def _report(task: Task, results: Sequence[Result], file: Path | None) -> None:
    machine = _machine()
    Console(width=None if sys.stdout.isatty() else 150).print(_table(task, results))
    print(_sentence(task, machine, results))
    if file is not None:
        content = {"task": asdict(task), "machine": machine, "results": [asdict(each) for each in results]}
        file.write_text(json.dumps(content, indent=2) + "\n")


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.makespan", description=__doc__)
    parser.add_argument("--clips", type=int, default=60, help="how many clips (60)")
    parser.add_argument("--render", type=float, default=10, metavar="SECONDS", help="rendering time (10)")
    parser.add_argument("--in-flight", type=int, default=20, metavar="N", help="clips rendering at once (20)")
    parser.add_argument(
        "--only", action="append", choices=list(CONTENDERS), help="this contender; repeatable"
    )
    parser.add_argument(
        "--timeout", type=float, default=1800, metavar="SECONDS", help="stop a contender after so long (1800)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this new folder and leave it")
    parser.add_argument(
        "--setting", action="append", default=[], metavar="SORA_X=Y", help="try a setting of this project"
    )
    return parser


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="sora-bench-") as name:
        yield Path(name)


def _machine() -> dict[str, str | int | None]:
    return {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "dagster": version("dagster"),
        "sora_pipeline": version("sora-pipeline"),
    }


def _table(task: Task, results: Sequence[Result]) -> Table:
    """Absolute figures, and in brackets how many times this project's."""
    project = next((each for each in results if each.contender == PROJECT.name and not each.problem), None)

    def cell(result: Result, figure: str, digits: int) -> str:
        value = _figure(result, figure)
        if value is None:
            return "-"
        own = None if project is None else _figure(project, figure)
        return f"{value:.{digits}f}" + (f"  ({value / own:.2f}x)" if own else "")

    table = Table(
        title=f"{task.clips} clips, {task.render_s:g} s rendering, {task.in_flight} in flight; "
        f"the provider alone takes {task.best_s:g} s"
    )
    table.add_column("contender")
    for heading in (
        "all videos after s",
        "CPU s a clip",
        "peak MB",
        "first submit s",
        "slots used",
        "processes",
        "delivered / billed",
    ):
        table.add_column(heading, justify="right")
    for result in results:
        slots = "-" if result.slots_used is None else f"{result.slots_used:.0%}"
        table.add_row(
            CONTENDERS[result.contender].title + (" [red]FAILED[/red]" if result.problem else ""),
            cell(result, "makespan", 1),
            cell(result, "cpu", 2),
            cell(result, "memory", 0),
            cell(result, "first submit", 1),
            slots,
            str(result.usage.processes),
            f"{result.delivered} / {result.accepted}",
        )
    return table


def _figure(result: Result, figure: str) -> float | None:
    match figure:
        case "makespan":
            return result.makespan_s
        case "cpu":
            return result.usage.cpu_s / max(result.delivered, 1)
        case "memory":
            return result.usage.peak_memory_bytes / 1e6
        case _:
            return result.first_submit_s


def _sentence(task: Task, machine: dict[str, str | int | None], results: Sequence[Result]) -> str:
    kinds = {"pss": "proportional set size", "rss": "resident set size"}
    kind = kinds[results[0].usage.memory_kind]
    busy = ", ".join(f"{each.otherwise_busy:.2f}" for each in results)
    tried = "".join(f" {name}={value}" for name, value in task.settings.items())
    return (
        f"{machine['cores']} cores ({machine['machine']}, {machine['system']}), Python {machine['python']}, "
        f"Dagster {machine['dagster']}; cores busy with anything else meanwhile, provider included: {busy}; "
        f"memory is {kind}.{' This project with' + tried + '.' if tried else ''}\n"
        "This project also decodes every video to its end, hashes it, makes posters, a gallery and a manifest; "
        "the others only download."
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; everything that was started has been ended")
