"""``python -m benchmarks.polling``: what polls of three rules cost, and how late they notice that a render has ended.

On simulated providers and a clock of their own, or with ``--sandbox`` on the sandbox provider over HTTP, with a real ledger.
"""

import argparse
import asyncio
import heapq
import json
import math
import random
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Protocol

from rich.console import Console
from rich.table import Table

from benchmarks.polling_live import run_on_sandbox
from sora_pipeline.ledger.types import RenderEnd, RenderKind
from sora_pipeline.production.poll_schedule import (
    REMEMBERED,
    PollSchedule,
    poll_schedule,
    unlearned_wait_s,
)
from sora_pipeline.production.render_times import READ_AGAIN_S

console = Console(stderr=not sys.stdout.isatty(), width=140)
KIND = RenderKind("sora-2-pro", 4, "720x1280")
ANSWER_S = 0.1
"""Seconds that an answer takes."""
EARLY = 60
"""So many clips are shown apart: nothing is known when the first ones are submitted."""
SAMPLES = 20_000

Render = Callable[[random.Random, int, float], float]
"""Seconds that a render takes, of the clip of this number, submitted at this time."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A provider as polls see it.

    Attributes:
        name: In a few words.
        render: What renders take.
        steady: Whether they are drawn from the same distribution throughout.
    """

    name: str
    render: Render
    steady: bool = True


def _around(median_s: float, spread: float) -> Render:
    return lambda chance, _number, _at: median_s * math.exp(spread * chance.gauss(0, 1))


def _two_kinds(chance: random.Random, number: int, at: float) -> float:
    return _around(30 if chance.random() < 0.5 else 150, 0.08)(chance, number, at)


def _some_refused(chance: random.Random, number: int, at: float) -> float:
    return chance.uniform(2, 6) if chance.random() < 0.1 else _around(90, 0.1)(chance, number, at)


def _growing_queue(chance: random.Random, number: int, at: float) -> float:
    return 40 + min(at / 10, 260) + _around(5, 0.3)(chance, number, at)


def _drifting(chance: random.Random, number: int, at: float) -> float:
    return (90 + 60 * math.sin(at / 1800 * 2 * math.pi)) * _around(1, 0.08)(chance, number, at)


def _suddenly_quick(chance: random.Random, number: int, at: float) -> float:
    return _around(120 if number < 150 else 20, 0.05)(chance, number, at)


def _suddenly_slow(chance: random.Random, number: int, at: float) -> float:
    return _around(60 if number < 150 else 120, 0.05)(chance, number, at)


SCENARIOS = (
    Scenario("10 s, always", lambda *_: 10.0),
    Scenario("60 s, always", lambda *_: 60.0),
    Scenario("55 to 65 s", lambda chance, *_: chance.uniform(55, 65)),
    Scenario("around 180 s, two thirds within 15 %", _around(180, 0.15)),
    Scenario("around 180 s, two thirds within 20 %", _around(180, 0.20)),
    Scenario("around 180 s, two thirds within 35 %", _around(180, 0.35)),
    Scenario("30 or 150 s", _two_kinds),
    Scenario("90 s, a tenth refused within 6 s", _some_refused),
    Scenario("a queue that grows, 45 to 300 s", _growing_queue, steady=False),
    Scenario("up and down, 30 to 150 s", _drifting, steady=False),
    Scenario("120 s, from clip 150 on 20 s", _suddenly_quick, steady=False),
    Scenario("60 s, from clip 150 on 120 s", _suddenly_slow, steady=False),
)


class Rule(Protocol):
    """When a prediction is polled."""

    def wait_s(self, age_s: float, now: float) -> float:
        """Seconds until a prediction of this age, which has not ended, is polled (again)."""
        ...

    def ended(self, after_s: float, until_s: float) -> None:
        """A poll found one unfinished at ``after_s``, and the next one that it had ended, at ``until_s``."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same interval always."""

    interval_s: float

    def wait_s(self, age_s: float, now: float) -> float:
        """The interval."""
        return self.interval_s

    def ended(self, after_s: float, until_s: float) -> None:
        """Learns nothing."""


@dataclass(frozen=True, slots=True)
class ByAge(Fixed):
    """The interval, or a tenth of the age: what holds where nothing is known."""

    def wait_s(self, age_s: float, now: float) -> float:
        """The interval or a tenth of the age, whichever is more."""
        return unlearned_wait_s(age_s, self.interval_s)


class Learning:
    """What the pipeline does; the ledger is asked every few seconds, as there."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._ends: deque[RenderEnd] = deque(maxlen=REMEMBERED)
        self._schedule = PollSchedule(interval_s)
        self._read_at = -math.inf

    def wait_s(self, age_s: float, now: float) -> float:
        """By the schedule that the newest ends ask for."""
        if now - self._read_at >= READ_AGAIN_S:
            self._schedule = poll_schedule(list(self._ends), interval_s=self._interval_s)
            self._read_at = now
        return self._schedule.wait_s(age_s)

    def ended(self, after_s: float, until_s: float) -> None:
        """The newest end."""
        self._ends.appendleft(RenderEnd(KIND, after_s, until_s))


@dataclass(frozen=True, slots=True)
class Noticed:
    """One clip: how many requests it took to notice its end, and how late that was."""

    number: int
    requests: int
    late_s: float


@dataclass(frozen=True, slots=True)
class Figures:
    """Of several clips: requests a clip, and seconds from the end of a render until it was noticed."""

    requests: float
    late_s: float
    late_p95_s: float

    @classmethod
    def of(cls, noticed: Sequence[Noticed]) -> "Figures":
        """Mean and 95th percentile."""
        late = sorted(each.late_s for each in noticed)
        return cls(
            round(fmean(each.requests for each in noticed), 2),
            round(fmean(late), 2),
            round(late[math.ceil(0.95 * len(late)) - 1], 2),
        )

    def __str__(self) -> str:
        return f"{self.requests:4.1f}  {self.late_s:4.1f} {self.late_p95_s:5.1f}"


def simulate(
    render: Render, rule: Rule, *, clips: int, slots: int, look_s: float, seed: int
) -> list[Noticed]:
    """Every clip through a provider with so many slots.

    Args:
        render: What renders take.
        rule: When is polled.
        clips: How many.
        slots: How many are rendered at once; a slot is taken again when the end of its render is noticed.
        look_s: Seconds between two looks at what is due.
        seed: Of everything that is left to chance.
    """
    chance = random.Random(seed)
    polls: list[tuple[float, int, float, float, float, int]] = []
    noticed: list[Noticed] = []

    def submit(number: int, at: float) -> None:
        due = _looked_at(at + rule.wait_s(0.0, at), look_s)
        heapq.heappush(polls, (due, number, at, render(chance, number, at), 0.0, 1))

    for number in range(min(slots, clips)):
        submit(number, ANSWER_S * number / slots)
    submitted = len(polls)
    while polls:
        at, number, accepted_at, takes_s, unfinished_s, count = heapq.heappop(polls)
        age_s, answered_at = at - accepted_at, at + ANSWER_S
        if age_s >= takes_s:
            noticed.append(Noticed(number, count, age_s - takes_s))
            rule.ended(unfinished_s, age_s + ANSWER_S)
            if submitted < clips:
                submit(submitted, answered_at)
                submitted += 1
        else:
            due = _looked_at(answered_at + rule.wait_s(age_s + ANSWER_S, answered_at), look_s)
            heapq.heappush(polls, (due, number, accepted_at, takes_s, age_s + ANSWER_S, count + 1))
    return noticed


def _looked_at(due: float, look_s: float) -> float:
    """When that is seen which is due at a time."""
    return math.ceil(due / look_s) * look_s if look_s else due


def least_requests(render: Render, late_s: float, seed: int) -> float:
    """About as many requests a clip no rule can do without that is as late on average, even if it knows the distribution.

    The product of both is at least half the square of ∫ √(density x share not yet ended), where polls are many
    (J. B. Keller, Optimum checking schedules for systems subject to random failure, 1974).
    """
    chance = random.Random(seed)
    times = sorted(render(chance, 0, 0.0) for _ in range(SAMPLES))
    step = SAMPLES // 200
    integral = sum(
        math.sqrt((later - earlier) * step / SAMPLES * (1 - (number + 0.5) * step / SAMPLES))
        for number, (earlier, later) in enumerate(pairwise(times[::step]))
    )
    return max(1.0, integral**2 / 2 / late_s)


Results = dict[str, dict[str, Figures]]


def compare(options: argparse.Namespace) -> Results:
    """All rules on all scenarios."""
    results: Results = {}
    rules: Mapping[str, Callable[[], Rule]] = {
        "fixed": lambda: Fixed(options.interval),
        "by age": lambda: ByAge(options.interval),
        "learned": lambda: Learning(options.interval),
    }
    for scenario in SCENARIOS:
        figures: dict[str, Figures] = {}
        for name, rule in rules.items():
            noticed = [
                each
                for seed in range(options.seeds)
                for each in simulate(
                    scenario.render,
                    rule(),
                    clips=options.clips,
                    slots=options.slots,
                    look_s=options.look,
                    seed=seed,
                )
            ]
            figures[name] = Figures.of(noticed)
            if name == "learned":
                figures["learned, first"] = Figures.of([each for each in noticed if each.number < EARLY])
        if scenario.steady:
            least = least_requests(scenario.render, figures["fixed"].late_s, seed=0)
            figures["least"] = Figures(round(least, 1), figures["fixed"].late_s, math.nan)
        results[scenario.name] = figures
    return results


def _table(results: Results, options: argparse.Namespace) -> Table:
    table = Table(
        title=f"requests a clip, and seconds until noticed (mean, 95 %); {options.clips} clips, {options.slots} slots, "
        f"interval {options.interval:g} s, {options.seeds} runs",
        box=None,
    )
    headings = ("fixed", "by age", "learned", "learned, first")
    for heading in ("renders take", *headings[:3], f"its first {EARLY} clips", "least"):
        table.add_column(heading, justify="left" if heading == "renders take" else "right")
    for name, figures in results.items():
        least = f"{figures['least'].requests:g}" if "least" in figures else ""
        table.add_row(name, *(str(figures[heading]) for heading in headings), least)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, or try it on the sandbox."""
    options = _options().parse_args(arguments)
    if options.sandbox:
        with tempfile.TemporaryDirectory() as folder:
            live = asyncio.run(
                run_on_sandbox(
                    Path(folder),
                    clips=options.clips,
                    slots=options.slots,
                    render_s=options.render,
                    jitter=options.jitter,
                    interval_s=options.interval,
                    look_s=options.look,
                    progress=console.print,
                )
            )
        results = {
            f"{options.render:g} s within {options.jitter:.0%}, on the sandbox": {
                rule: Figures.of([Noticed(number, *each) for number, each in enumerate(clips)])
                for rule, clips in live.items()
            }
        }
        for rule, clips in live.items():
            console.print(f"{rule:8s} {Figures.of([Noticed(0, *each) for each in clips])}")
    else:
        results = compare(options)
        console.print(_table(results, options))
    if options.json:
        plain = {name: {rule: asdict(each) for rule, each in row.items()} for name, row in results.items()}
        options.json.write_text(json.dumps(plain, indent=2))
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.polling", description=__doc__)
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--slots", type=int, default=20, help="clips that are rendered at once")
    parser.add_argument("--interval", type=float, default=5, help="SORA_POLL_INTERVAL_S")
    parser.add_argument("--look", type=float, default=0, help="seconds between two looks at what is due")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each simulation")
    parser.add_argument("--sandbox", action="store_true", help="on the sandbox provider, in real time")
    parser.add_argument("--render", type=float, default=20, help="seconds a render takes on the sandbox")
    parser.add_argument("--jitter", type=float, default=0.1, help="share by which these vary")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
