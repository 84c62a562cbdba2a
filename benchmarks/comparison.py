"""What the trials of several contenders come to: medians, ratios to the script and to this project, and the table of both."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from benchmarks.contenders import CONTENDERS, PROJECT, SCRIPT
from benchmarks.trial import Result


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        heading: What it says.
        of: The figure of one trial; None where it has none.
        shown: How it is written.
        compared: Whether its ratios say anything.
    """

    heading: str
    of: Callable[[Result], float | None]
    shown: Callable[[float], str]
    compared: bool = True


FIGURES = (
    Figure("all videos after", lambda result: result.makespan_s, lambda value: f"{value:.1f} s"),
    Figure(
        "first submit to last video",
        lambda result: result.submits_to_videos_s,
        lambda value: f"{value:.1f} s",
    ),
    Figure("first submit after", lambda result: result.first_submit_s, lambda value: f"{value:.1f} s"),
    Figure(
        "slots in use, first to last submit",
        lambda result: result.slots_used,
        lambda value: f"{value:.1%}",
        compared=False,
    ),
    Figure("CPU a clip", lambda result: result.cpu_per_clip_s, lambda value: f"{value:.2f} s"),
    Figure(
        "peak memory", lambda result: result.usage.peak_memory_bytes / 1e6, lambda value: f"{value:.0f} MB"
    ),
    Figure(
        "processes",
        lambda result: float(result.usage.processes),
        lambda value: f"{value:.0f}",
        compared=False,
    ),
)


def by_contender(results: Sequence[Result]) -> dict[str, list[Result]]:
    """The trials that count, of each contender that was tried; those that failed are only counted as such."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.contender, []).extend([] if result.problem else [result])
    return groups


def median_of(figure: Figure, trials: Sequence[Result]) -> float | None:
    """The median of a figure over trials; None where none has it."""
    values = [value for trial in trials if (value := figure.of(trial)) is not None]
    return statistics.median(values) if values else None


def typical(trials: Sequence[Result]) -> Result | None:
    """The trial whose makespan is the median, or the next longer one; None where none counts."""
    ordered = sorted(trials, key=lambda trial: trial.makespan_s or 0.0)
    return ordered[len(ordered) // 2] if ordered else None


def medians(results: Sequence[Result]) -> dict[str, dict[str, float | None]]:
    """The median of every figure, by contender."""
    return {
        name: {figure.heading: median_of(figure, trials) for figure in FIGURES}
        for name, trials in by_contender(results).items()
    }


def table(title: str, results: Sequence[Result]) -> Table:
    """Medians; in brackets how many times the script's they are, then how many times this project's.

    It is Markdown, and so can be copied into a page.
    """
    groups, figures = by_contender(results), medians(results)
    drawn = Table(title=title, box=box.MARKDOWN, title_justify="left")
    drawn.add_column("")
    for name in groups:
        drawn.add_column(CONTENDERS[name].title, justify="right")
    for figure in FIGURES:
        drawn.add_row(figure.heading, *(_cell(figure, figures, name) for name in groups))
    drawn.add_row(
        "delivered / billed",
        *(f"{_sum(results, name, 'delivered')} / {_sum(results, name, 'accepted')}" for name in groups),
    )
    failed = {name: sum(bool(each.problem) for each in results if each.contender == name) for name in groups}
    if any(failed.values()):
        drawn.add_row("failed trials", *(str(failed[name]) for name in groups))
    return drawn


def _sum(results: Sequence[Result], name: str, field: str) -> int:
    return sum(getattr(each, field) for each in results if each.contender == name)


def _cell(figure: Figure, figures: Mapping[str, Mapping[str, float | None]], name: str) -> str:
    value = figures[name][figure.heading]
    if value is None:
        return "-"
    ratios = [
        f"{value / other:.2f}x"
        for reference in (SCRIPT.name, PROJECT.name)
        if figure.compared and (other := figures.get(reference, {}).get(figure.heading))
    ]
    return figure.shown(value) + (f" ({', '.join(ratios)})" if ratios else "")
