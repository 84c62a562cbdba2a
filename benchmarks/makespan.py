"""``python -m benchmarks.makespan``: the same clips made in several ways, and what each costs in time, CPU and memory.

The figures are of one machine at one time. Compare the ratios, and run it again where the machine was otherwise busy.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.comparison import by_contender, medians, table, typical
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.databases import SQLITE, NoServerError
from benchmarks.peers.environments import PeerNotInstalledError, python_of
from benchmarks.reporting import (
    add_common_options,
    console,
    end_in_order_when_told,
    folder_of,
    machine_sentence,
    print_table,
    run_as_program,
    settings_of,
    write_json,
)
from benchmarks.trial import Result, Task, try_contender


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the contenders one after the other, again and again; returns 1 where one of them failed, 2 without a database."""
    options = _options().parse_args(arguments)
    end_in_order_when_told()
    task = Task(
        clips=options.clips,
        render_s=options.render,
        in_flight=options.in_flight,
        timeout_s=options.timeout,
        settings=settings_of(options),
        database=options.database,
    )
    results: list[Result] = []
    try:
        with folder_of(options) as folder, console.status("") as status:
            contenders = _installed(options.only or list(CONTENDERS), status.update)
            for number in range(options.repeat):
                for contender in contenders:
                    results.append(
                        try_contender(contender, task, folder / f"{contender.name}-{number}", status.update)
                    )
                    _say_problem(results[-1])
    except NoServerError as problem:
        console.print(f"error: {problem}", highlight=False)
        return 2
    finally:  # an interrupted comparison still shows whom it got to
        if results:
            _report(task, results, options)
    return 1 if any(result.problem for result in results) else 0


def _installed(names: Sequence[str], show: Callable[[str], None]) -> list[Contender]:
    """The contenders that can be had here; why another one cannot is said."""
    contenders = []
    for contender in (CONTENDERS[name] for name in names):
        try:
            if contender.peer is not None:
                show(f"{contender.title}: its environment is looked at, and made where it is missing")
                python_of(contender.peer)
        except PeerNotInstalledError as problem:
            console.print(f"[yellow]{problem}[/yellow]", highlight=False)
            continue
        contenders.append(contender)
    return contenders


def _say_problem(result: Result) -> None:
    if result.problem:
        console.print(f"[red]{result.contender}: {result.problem}[/red]")
        console.print(result.log_tail, markup=False, highlight=False)


def _title(task: Task) -> str:
    return (
        f"{task.clips} clips, {task.render_s:g} s rendering, {task.in_flight} in flight; "
        f"the provider alone takes {task.best_s:g} s"
    )


def _report(task: Task, results: Sequence[Result], options: argparse.Namespace) -> None:
    print_table(table(_title(task), results))
    print(_sentence(task, results))
    write_json(
        options.json,
        {"task": asdict(task), "medians": medians(results), "results": [asdict(each) for each in results]},
    )
    if options.plot is not None:
        _plot(task, results, options.plot)


def _plot(task: Task, results: Sequence[Result], file: Path) -> None:
    from benchmarks.plots import slots_over_time

    groups = by_contender(results)
    drawn = {
        CONTENDERS[name].title: trial.renders
        for name, trials in groups.items()
        if (trial := typical(trials)) is not None
    }
    slots_over_time(drawn, task.in_flight, f"Clips rendering: {_title(task)}", file)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.makespan", description=__doc__)
    parser.add_argument("--clips", type=int, default=60, help="how many clips (60)")
    parser.add_argument("--render", type=float, default=10, metavar="SECONDS", help="rendering time (10)")
    parser.add_argument("--in-flight", type=int, default=20, metavar="N", help="clips rendering at once (20)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="trials of each contender (1)")
    parser.add_argument(
        "--only", action="append", choices=list(CONTENDERS), help="this contender; repeatable"
    )
    parser.add_argument(
        "--timeout", type=float, default=1800, metavar="SECONDS", help="stop a contender after so long (1800)"
    )
    add_common_options(parser)
    return parser


def _sentence(task: Task, results: Sequence[Result]) -> str:
    kinds = {"pss": "proportional set size", "rss": "resident set size"}
    busy = sorted(each.otherwise_busy for each in results)
    tried = "".join(f" {name}={value}" for name, value in task.settings.items())
    where = f" with its state in {task.database}" if task.database != SQLITE else ""
    return (
        f"Medians of {max(map(len, by_contender(results).values()))}; in brackets times the script's, times this project's. "
        f"{machine_sentence()}; cores busy with anything else meanwhile, provider included: {busy[0]:.2f} to {busy[-1]:.2f}; "
        f"memory is {kinds[results[0].usage.memory_kind]}."
        f"{' This project' + where + tried + '.' if where or tried else ''}\n"
        "This project also decodes every video to its end, hashes it, makes posters, a gallery and a manifest, and pays for no "
        "clip twice whatever is killed; the others only download."
    )


if __name__ == "__main__":
    run_as_program(main)
