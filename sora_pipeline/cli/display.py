"""Progress of a production: a live line on a terminal, plain lines elsewhere, both on standard error."""

import sys
import time
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from sora_pipeline.amounts import usd
from sora_pipeline.cli.output import errors, stderr
from sora_pipeline.cli.terminal import styled
from sora_pipeline.ledger.types import AttemptState
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from sora_pipeline.production.progress import Progress

_ENDS = (
    (ClipStatus.DELIVERED, "green"),
    (ClipStatus.FAILED, "red"),
    (ClipStatus.AMBIGUOUS, "yellow"),
)
_WORK = (
    (AttemptState.SUCCEEDED, "fetching", "cyan"),
    (AttemptState.IN_FLIGHT, "rendering", "blue"),
    (AttemptState.SUBMITTING, "submitting", "blue"),
    (AttemptState.RESERVED, "reserved", "blue"),
)
_WIDEST_BAR, _NARROWEST_BAR = 28, 8
_SEEN_S = 300.0
"""Seconds that the present pace is taken from."""
_FIRST_ETA_S = 10.0


class Pace:
    """How fast clips come to an end, from what was seen of a production lately."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, now: float, ended: int) -> None:
        """Take one look at how many have ended."""
        if not self._seen or ended != self._seen[-1][1]:
            self._seen.append((now, ended))
        while len(self._seen) > 2 and now - self._seen[0][0] > _SEEN_S:
            self._seen.popleft()

    def left_s(self, now: float, left: int) -> float | None:
        """Seconds until so many more have ended; None: too little was seen."""
        if len(self._seen) < 2:
            return None
        (began, first), (_, last) = self._seen[0], self._seen[-1]
        if now - began < _FIRST_ETA_S or last <= first:
            return None
        return left * (now - began) / (last - first)


class ProgressDisplay:
    """Shows how far a production is; says nothing twice where lines cannot be taken back.

    Args:
        waiting: What is said before its manifest is read.
    """

    def __init__(self, waiting: str = "the manifest is read") -> None:
        self._began = time.monotonic()
        self._waiting = waiting
        self._pace = Pace()
        if errors.is_terminal:
            errors.file = sys.stderr  # also while a run in this process has it led elsewhere
        self._live = (
            Live(console=errors, refresh_per_second=4, transient=True) if errors.is_terminal else None
        )
        self._last_shown = ""

    def show(self, progress: "Progress | None", obstacle: str | None = None) -> None:
        """Show the newest look; None while the daemon starts and reads the manifest.

        Args:
            progress: The look.
            obstacle: Why nothing happens, where that is known.

        Raises:
            KeyboardInterrupt: whoever watched has gone, as ``head`` goes: nothing is spent that nobody sees.
        """
        if stderr.left:
            raise KeyboardInterrupt
        parts = self._parts(progress)
        if obstacle:
            parts.append(styled((f"waits: {obstacle}", "yellow")))
        if self._live is not None:
            self._live.update(_fitted(self._bar(progress), [*parts, *self._eta(progress)], errors.width))
            return
        words = Text("  ").join(parts).plain
        if words != self._last_shown:
            self._last_shown = words
            errors.print(f"{self._clock()} {words}")

    def _parts(self, progress: "Progress | None") -> list[Text]:
        """What is to be said, the most important first."""
        if progress is None:
            return [Text(self._waiting, style="dim")]
        waiting = progress.counts[ClipStatus.PENDING] - progress.at_work[AttemptState.RESERVED]
        counted = [(progress.counts[status], str(status), style) for status, style in _ENDS]
        counted[1:1] = [(progress.at_work[state], word, style) for state, word, style in _WORK]
        counted.append((waiting, str(ClipStatus.PENDING), "dim"))
        parts = [Text(f"{count} {word}", style=style) for count, word, style in counted if count]
        if progress.settled and not progress.published:
            parts.append(Text("publishing", style="cyan"))
        parts.append(Text(_money(progress), style="dim"))
        if progress.trouble:
            parts.append(styled((f"tried again: {progress.trouble}", "yellow")))
        return parts

    def _bar(self, progress: "Progress | None") -> tuple[Text, int, int]:
        """The clock, how many clips have ended, and how many there are."""
        clock = Text(f"{self._clock()} ", style="dim")
        if progress is None or not progress.clips:
            return clock, 0, 0
        return clock, _ended(progress), progress.clips

    def _eta(self, progress: "Progress | None") -> list[Text]:
        if progress is None or progress.settled:
            return []
        now, ended = time.monotonic(), _ended(progress)
        self._pace.note(now, ended)
        left_s = self._pace.left_s(now, progress.clips - ended)
        return [] if left_s is None else [Text(f"about {_duration(left_s)} left", style="dim")]

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60}:{seconds % 60:02}"

    def __enter__(self) -> "ProgressDisplay":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _ended(progress: "Progress") -> int:
    return sum(progress.counts[status] for status, _ in _ENDS)


def _money(progress: "Progress") -> str:
    """What it has cost, and may still cost."""
    committed = usd(progress.spending.committed_usd, simulated=progress.production.simulated)
    spent = f"{committed} spent or reserved"
    return f"{spent}, {progress.to_pay_usd:.2f} to come" if progress.to_pay_usd else spent


def _duration(seconds: float) -> str:
    """In words, as exactly as it is known."""
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{max(1, minutes)} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _fitted(bar: tuple[Text, int, int], parts: list[Text], width: int) -> Text:
    """One line or more of whole parts, none of them cut: the bar takes what is left, and too many parts go on further down."""
    clock, ended, clips = bar
    count = Text(f" {ended}/{clips}  ", style="bold") if clips else Text("")
    words = Text("  ").join(parts)
    left = width - clock.cell_len - count.cell_len - words.cell_len - 1
    if left < _NARROWEST_BAR:  # the words go on below
        left = width - clock.cell_len - count.cell_len - 1
    cells = max(0, min(_WIDEST_BAR, left)) if clips else 0
    line = clock.copy()
    if cells >= _NARROWEST_BAR:
        done = round(cells * ended / clips)
        line.append("━" * done, style="green").append("━" * (cells - done), style="bright_black")
    lines = [line.append_text(count)]
    for part in parts:
        gap = Text("  ") if lines[-1].cell_len and not lines[-1].plain.endswith("  ") else Text("")
        if lines[-1].cell_len + gap.cell_len + part.cell_len > width - 1 and len(lines[-1].plain.strip()) > 0:
            lines.append(Text("  "))
            gap = Text("")
        lines[-1].append_text(gap).append_text(part)
    return Text("\n").join(lines)
