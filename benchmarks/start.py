"""``python -m benchmarks.start``: from the command, or the schedule's minute, to the first submit and to the first video.

A few clips, once by each way in which a production begins; where the time goes is told by what Dagster, the ledger and the provider
have noted.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich import box
from rich.table import Table

from benchmarks.databases import NoServerError
from benchmarks.moments import SUBMITTED, VIDEO, median_moments, phases
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
from benchmarks.start_cases import CASES, CLIPS, RENDER_S, Start, StartError, begin

NAMES = {"fresh": CASES[0], "used": CASES[1], "daemon": CASES[2], "schedule": CASES[3]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Begin again and again; returns 1 where a production did not come to a video, 2 without a database."""
    options = _options().parse_args(arguments)
    end_in_order_when_told()
    cases = [NAMES[name] for name in options.only or NAMES]
    starts: list[Start] = []
    try:
        with folder_of(options) as folder, console.status("") as status:
            for number in range(options.repeat):
                status.update(f"trial {number + 1} of {options.repeat}")
                settings = settings_of(options)
                starts.extend(begin(folder / str(number), cases, settings, options.database))
    except NoServerError as problem:
        console.print(f"error: {problem}", highlight=False)
        return 2
    except StartError as problem:
        console.print(f"error: {problem}", highlight=False)
        return 1
    finally:
        if starts:
            _report(starts, options)
    return 0


def _report(starts: Sequence[Start], options: argparse.Namespace) -> None:
    typical = {
        case: median_moments([start.since_began for start in starts if start.case == case])
        for case in dict.fromkeys(start.case for start in starts)
    }
    print_table(_table(typical, starts))
    print(
        f"Medians of {options.repeat}; {CLIPS} clips of {RENDER_S:g} s, database {options.database}. {machine_sentence()}."
    )
    write_json(options.json, {"typical": typical, "starts": [asdict(start) for start in starts]})
    if options.plot is not None:
        from benchmarks.plots import stacked_bars

        stacked_bars(
            {case: phases(0.0, moments, SUBMITTED) for case, moments in typical.items()},
            title="From the command, or the scheduled minute, to the first submit",
            x_label="seconds, by what was reached at the end of each part",
            file=options.plot,
        )


def _table(typical: Mapping[str, Mapping[str, float]], starts: Sequence[Start]) -> Table:
    drawn = Table(title="seconds since the beginning", box=box.MARKDOWN, title_justify="left")
    drawn.add_column("")
    for case in typical:
        drawn.add_column(case, justify="right")
    reached = sorted(
        {name for moments in typical.values() for name in moments},
        key=lambda name: statistics.median(moments[name] for moments in typical.values() if name in moments),
    )
    for name in reached:
        bold = f"**{name}**" if name in (SUBMITTED, VIDEO) else name
        cells = (f"{moments[name]:.1f}" if name in moments else "-" for moments in typical.values())
        drawn.add_row(bold, *cells)
    return drawn


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="trials of each way (1)")
    parser.add_argument("--only", action="append", choices=list(NAMES), help="this way; repeatable")
    add_common_options(parser)
    return parser


if __name__ == "__main__":
    run_as_program(main)
