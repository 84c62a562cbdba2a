"""``python -m benchmarks.growth``: what a clip, a sensor's tick and a look cost at 100, 1,000, 10,000 and 100,000 clips.

Three parts. ``production``: clips are really produced for a limited time, and what was used is shared among those delivered.
``loaded``: a home is filled to each size, nearly all of it delivered, and sensors, looks and publishing are timed in it. ``events``:
what Dagster's events for a clip cost, by the settings of Dagster that could change it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from benchmarks.contenders import HERE, PROJECT, project_environment
from benchmarks.databases import NoServerError
from benchmarks.events import VARIANTS, cost_of_clip
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
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings

PRODUCTION, LOADED, EVENTS = "production", "loaded", "events"
SIZES = (100, 1_000, 10_000, 100_000)
MOST_PRODUCED = 10_000
"""Above that a home is only filled."""
EVENT_CLIPS = 500
LOADED_IN_FLIGHT = 500
Show = Callable[[str], None]


class GrowthError(Exception):
    """Raised where a part could not be measured; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the parts one after the other; returns 1 where one could not be."""
    options = _options().parse_args(arguments)
    options.clips = options.clips or list(SIZES)
    end_in_order_when_told()
    parts = options.part or [PRODUCTION, LOADED, EVENTS]
    figures: dict[str, Any] = {}
    try:
        with folder_of(options) as folder, console.status("") as status:
            if PRODUCTION in parts:
                figures[PRODUCTION] = _productions(options, folder, status.update)
            if LOADED in parts:
                figures[LOADED] = [
                    _loaded(size, folder / f"loaded-{size}", settings_of(options), status.update)
                    for size in options.clips
                ]
            if EVENTS in parts:
                figures[EVENTS] = _events(folder, status.update)
    except (GrowthError, NoServerError) as problem:
        console.print(f"error: {problem}", highlight=False)
        return 1
    finally:
        if figures:
            _report(figures, options)
    return int(any(each["problem"] for each in figures.get(PRODUCTION, [])))


def _productions(options: argparse.Namespace, folder: Path, show: Show) -> list[dict[str, Any]]:
    """Really produce each size, for a limited time."""
    produced = []
    for size in (size for size in options.clips if size <= MOST_PRODUCED):
        task = Task(
            clips=size,
            render_s=options.render,
            in_flight=options.in_flight,
            timeout_s=options.limit,
            settings=settings_of(options),
            database=options.database,
            fps=options.fps,
        )
        result = try_contender(PROJECT, task, folder / f"production-{size}", show)
        produced.append(production_figures(task, result))
    return produced


def production_figures(task: Task, result: Result) -> dict[str, Any]:
    """What a production came to. That its time was over is no problem, as long as something was delivered in it."""
    timed_out = result.makespan_s is None and result.ended_s >= task.timeout_s and result.delivered > 0
    return {
        "clips": task.clips,
        "problem": None if timed_out else result.problem,
        "delivered": result.delivered,
        "billed": result.accepted,
        "ended_s": result.ended_s,
        "cpu_per_clip_s": result.cpu_per_clip_s,
        "clips_per_minute": result.delivered / (result.makespan_s or result.ended_s) * 60,
        "slots_used": result.slots_used,
        "peak_memory_bytes": result.usage.peak_memory_bytes,
        "processes": result.usage.processes,
        "usage": asdict(result.usage),
        "log_tail": "" if timed_out else result.log_tail,
    }


def _loaded(size: int, folder: Path, settings: Mapping[str, str], show: Show) -> dict[str, Any]:
    """Fill a home to a size in a process of its own, which times what is asked in it.

    Raises:
        GrowthError: it could not be filled.
    """
    show(f"a home with {size:,} clips")
    folder.mkdir(parents=True)
    provider = SandboxSettings(state_dir=folder / "provider", render_s=1, shared_renders=True)
    with running_sandbox(provider) as endpoint:
        environment = project_environment(folder, endpoint, LOADED_IN_FLIGHT, settings)
        command = [sys.executable, "-m", "benchmarks.loaded", str(folder), "--clips", str(size)]
        with (folder / "loaded.log").open("wb") as log:
            done = subprocess.run(
                [*command, "--url", endpoint.url],
                env=environment,
                cwd=HERE,
                stdout=subprocess.PIPE,
                stderr=log,
                check=False,
            )
    if done.returncode:
        end = (folder / "loaded.log").read_text("utf-8", "replace").strip().splitlines()[-5:]
        raise GrowthError(f"a home with {size:,} clips could not be measured: {' '.join(end)}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _events(folder: Path, show: Show) -> list[dict[str, Any]]:
    """What a clip's events cost in each way to keep them; a database that is not there is left out."""
    measured = []
    for number, variant in enumerate(VARIANTS):
        show(f"events: {variant.name}")
        try:
            cost = cost_of_clip(variant, EVENT_CLIPS, folder / f"events-{number}")
        except NoServerError as problem:
            console.print(f"[yellow]{variant.name} is left out: {problem}[/yellow]", highlight=False)
            continue
        measured.append({"variant": variant.name, "note": variant.note, **cost})
    return measured


def _report(figures: Mapping[str, Any], options: argparse.Namespace) -> None:
    if produced := figures.get(PRODUCTION):
        print_table(_production_table(produced, options))
    if loaded := figures.get(LOADED):
        print_table(_loaded_table(loaded))
    if events := figures.get(EVENTS):
        print_table(_events_table(events))
    print(f"{machine_sentence()}.")
    write_json(options.json, figures)
    if options.plot is not None and loaded:
        _plot(loaded, options.plot)


def _production_table(produced: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> Table:
    drawn = _table(
        f"{options.render:g} s rendering, {options.in_flight} in flight, {options.fps} frames a second, "
        f"{options.database}; at most {options.limit:g} s for each size"
    )
    for heading in (
        "clips",
        "delivered",
        "CPU a clip",
        "clips a minute",
        "slots in use",
        "peak memory",
        "processes",
    ):
        drawn.add_column(heading, justify="right")
    for each in produced:
        slots = "-" if each["slots_used"] is None else f"{each['slots_used']:.0%}"
        drawn.add_row(
            f"{each['clips']:,}",
            f"{each['delivered']:,}" + (" FAILED" if each["problem"] else ""),
            f"{each['cpu_per_clip_s']:.3f} s",
            f"{each['clips_per_minute']:.0f}",
            slots,
            f"{each['peak_memory_bytes'] / 1e6:.0f} MB",
            str(each["processes"]),
        )
    return drawn


def _loaded_table(loaded: Sequence[Mapping[str, Any]]) -> Table:
    drawn = _table("a home with so many clips: milliseconds, then megabytes")
    drawn.add_column("")
    for each in loaded:
        drawn.add_column(f"{each['clips']:,}", justify="right")
    for name in names_of(loaded, "seconds"):
        drawn.add_row(name, *(_cell(each["seconds"].get(name), 1000) for each in loaded))
    for name in names_of(loaded, "bytes"):
        drawn.add_row(name, *(_cell(each["bytes"].get(name), 1e-6) for each in loaded))
    drawn.add_row("peak memory", *(_cell(each["peak_memory_bytes"], 1e-6) for each in loaded))
    return drawn


def _events_table(events: Sequence[Mapping[str, Any]]) -> Table:
    drawn = _table(f"Dagster's events of a clip in a run over {EVENT_CLIPS}: milliseconds")
    for heading in ("", "CPU", "wall", "takes away"):
        drawn.add_column(heading, justify="left" if heading in ("", "takes away") else "right")
    for each in events:
        drawn.add_row(each["variant"], f"{each['cpu_ms']:.1f}", f"{each['wall_ms']:.1f}", each["note"])
    return drawn


def names_of(loaded: Sequence[Mapping[str, Any]], kind: str) -> list[str]:
    """What was measured of any size, in the order in which it was."""
    return list(dict.fromkeys(name for each in loaded for name in each[kind]))


def _plot(loaded: Sequence[Mapping[str, Any]], file: Path) -> None:
    from benchmarks.plots import lines

    shown = [
        name
        for name in names_of(loaded, "seconds")
        if name.endswith(("all pending", "nothing to do"))
        or name in ("publish again", "read it again, unchanged")
    ]
    series = {
        name: {each["clips"]: each["seconds"][name] for each in loaded if name in each["seconds"]}
        for name in shown
    }
    lines(
        series,
        title="A tick, a look, a publication",
        x_label="clips in the home",
        y_label="seconds",
        file=file,
    )


def _table(title: str) -> Table:
    return Table(title=title, box=box.MARKDOWN, title_justify="left")


def _cell(value: float | None, factor: float) -> str:
    return "-" if value is None else f"{value * factor:.1f}"


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument(
        "--clips", type=int, action="append", help="this size; repeatable (100, 1000, 10000, 100000)"
    )
    parser.add_argument(
        "--part", action="append", choices=[PRODUCTION, LOADED, EVENTS], help="this part; repeatable"
    )
    parser.add_argument(
        "--limit", type=float, default=600, metavar="SECONDS", help="for each size that is produced (600)"
    )
    parser.add_argument("--render", type=float, default=5, metavar="SECONDS", help="rendering time (5)")
    parser.add_argument(
        "--in-flight", type=int, default=200, metavar="N", help="clips rendering at once (200)"
    )
    parser.add_argument("--fps", type=int, default=24, help="frames a second of the videos (24)")
    add_common_options(parser)
    return parser


if __name__ == "__main__":
    run_as_program(main)
