"""The pictures that the benchmarks make of their figures: SVG, readable on light and on dark pages alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.slots import Render, in_use

GREY = "#808080"  # about 4:1 on white and on black
COLOURS = ("#3b82f6", "#e8792b", "#22a06b", "#b26be0", "#d64f6d", "#9a8a1d", "#17a2b8", "#808080")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sora_pipeline",  # the same figures make the same file
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
}


def slots_over_time(renders: Mapping[str, Sequence[Render]], slots: int, title: str, file: Path) -> None:
    """How many clips rendered at each moment, a panel for each contender.

    Args:
        renders: Of each contender, by its title.
        slots: How many may render at once.
        title: Above the picture.
        file: Where it goes.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.6 + 1.05 * len(renders)), layout="constrained")
        panels = figure.subplots(len(renders), 1, sharex=True, squeeze=False)[:, 0]
        for (name, of_contender), panel, colour in zip(renders.items(), panels, COLOURS, strict=False):
            steps = in_use(of_contender)
            moments, counts = [moment for moment, _ in steps], [count for _, count in steps]
            panel.fill_between(moments, counts, step="post", color=colour, alpha=0.75, linewidth=0)
            panel.axhline(slots, color=GREY, linewidth=0.8, linestyle="--")
            panel.set_ylim(0, slots * 1.12)
            panel.set_yticks([0, slots])
            panel.set_title(f"{name}: {moments[-1]:.0f} s", loc="left", fontsize=9, pad=3)
        panels[-1].set_xlim(left=0)
        panels[-1].set_xlabel("seconds since the command's start; the dashed line is all slots")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        _save(figure, file)


def lines(
    series: Mapping[str, Mapping[float, float]], *, title: str, x_label: str, y_label: str, file: Path
) -> None:
    """One line for each name, on logarithmic axes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, points in series.items():
            axes.plot(list(points), list(points.values()), marker="o", markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(which="major")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_title(title, loc="left", fontsize=10)
        figure.legend(loc="outside right upper", fontsize=8)
        _save(figure, file)


def stacked_bars(bars: Mapping[str, Mapping[str, float]], *, title: str, x_label: str, file: Path) -> None:
    """One bar for each name, made of parts that follow one another; equal parts have equal colours."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.6 + 0.5 * len(bars)), layout="constrained")
        axes = figure.subplots()
        colours: dict[str, str] = {}
        for name, parts in bars.items():
            begin = 0.0
            for part, length in parts.items():
                known = part in colours
                colour = colours.setdefault(part, COLOURS[len(colours) % len(COLOURS)])
                label = None if known else part
                axes.barh(name, length, left=begin, color=colour, height=0.6, label=label)
                begin += length
            axes.text(begin, name, f" {begin:.1f} s", va="center")
        axes.invert_yaxis()
        axes.set_xlabel(x_label)
        axes.set_title(title, loc="left", fontsize=10)
        figure.legend(loc="outside lower left", ncols=3, fontsize=8)
        _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
