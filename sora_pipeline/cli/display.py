"""Progress of a production: a live line on a terminal, plain lines elsewhere, both on standard error."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from sora_pipeline.cli.output import errors

if TYPE_CHECKING:
    from sora_pipeline.production.progress import Progress

_ORDER = (
    ("delivered", "green"),
    ("fetching", "cyan"),
    ("rendering", "blue"),
    ("submitting", "blue"),
    ("pending", "dim"),
    ("failed", "red"),
    ("ambiguous", "yellow"),
)
_BAR = 28


class ProgressDisplay:
    """Shows how far a production is; says nothing twice where lines cannot be taken back."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._live = (
            Live(console=errors, refresh_per_second=4, transient=True) if errors.is_terminal else None
        )
        self._said = ""

    def show(self, progress: "Progress | None") -> None:
        """Show the newest look; None while the daemon starts and reads the manifest."""
        words = self._words(progress)
        if self._live is not None:
            self._live.update(self._bar(progress).append_text(words))
        elif words.plain != self._said:
            self._said = words.plain
            errors.print(f"{self._clock()} {words.plain}")

    def _words(self, progress: "Progress | None") -> Text:
        if progress is None:
            return Text("the Dagster daemon starts and reads the manifest", style="dim")
        words = Text()
        for name, style in _ORDER:
            if progress.counts[name]:
                words.append(f"{progress.counts[name]} {name}  ", style=style)
        if progress.settled and not progress.published:
            words.append("publishing  ", style="cyan")
        words.append(f"{progress.spending.committed_usd:.2f} USD", style="dim")
        if progress.trouble:
            words.append(f"  tried again: {progress.trouble}", style="yellow")
        return words

    def _bar(self, progress: "Progress | None") -> Text:
        bar = Text(f"{self._clock()} ", style="dim")
        if progress is None or not progress.clips:
            return bar
        done = progress.counts["delivered"] + progress.counts["failed"] + progress.counts["ambiguous"]
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
