"""Progress of a production: a live line on a terminal, plain lines elsewhere, both on standard error."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

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
_BAR = 28


class ProgressDisplay:
    """Shows how far a production is; says nothing twice where lines cannot be taken back."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        if errors.is_terminal:
            errors.file = sys.stderr  # also while a run in this process has it led elsewhere
        self._live = (
            Live(console=errors, refresh_per_second=4, transient=True) if errors.is_terminal else None
        )
        self._last_shown = ""

    def show(self, progress: "Progress | None") -> None:
        """Show the newest look; None while the daemon starts and reads the manifest.

        Raises:
            KeyboardInterrupt: whoever watched has gone, as ``head`` goes: nothing is spent that nobody sees.
        """
        if stderr.left:
            raise KeyboardInterrupt
        words = self._words(progress)
        if self._live is not None:
            self._live.update(self._bar(progress).append_text(words))
        elif words.plain != self._last_shown:
            self._last_shown = words.plain
            errors.print(f"{self._clock()} {words.plain}")

    def _words(self, progress: "Progress | None") -> Text:
        if progress is None:
            return Text("the Dagster daemon starts and reads the manifest", style="dim")
        words = Text()
        waiting = progress.counts[ClipStatus.PENDING] - progress.at_work[AttemptState.RESERVED]
        parts = [(progress.counts[status], str(status), style) for status, style in _ENDS]
        parts[1:1] = [(progress.at_work[state], word, style) for state, word, style in _WORK]
        for count, word, style in (*parts, (waiting, str(ClipStatus.PENDING), "dim")):
            if count:
                words.append(f"{count} {word}  ", style=style)
        if progress.settled and not progress.published:
            words.append("publishing  ", style="cyan")
        words.append(f"{progress.spending.committed_usd:.2f} USD", style="dim")
        if progress.trouble:
            words.append_text(styled((f"  tried again: {progress.trouble}", "yellow")))
        return words

    def _bar(self, progress: "Progress | None") -> Text:
        bar = Text(f"{self._clock()} ", style="dim")
        if progress is None or not progress.clips:
            return bar
        done = sum(progress.counts[status] for status, _ in _ENDS)
        cells = round(_BAR * done / progress.clips)
        bar.append("━" * cells, style="green").append("━" * (_BAR - cells), style="bright_black")
        return bar.append(f" {done}/{progress.clips}  ", style="bold")

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
