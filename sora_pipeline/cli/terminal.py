"""Standard output and error as commands write to them: texts as they are, whoever wrote them and whoever reads them.

Texts come from manifests, providers, outputs and file names of others. Nothing in them is taken for markup, nothing in
them is obeyed by a terminal, and a stream that nobody reads any more ends no production and changes no exit code.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

_WIDE = 200
"""Columns where nobody looks: a log or a file has no edge at which to break lines."""
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed: escape sequences begin with them
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # turn the direction of writing, or end a line
    "\ud800-\udfff]"  # no characters: bytes of a file name that is not UTF-8
)


def visible(text: str) -> str:
    """A text with every character written out that a terminal would obey instead of show."""
    return _OBEYED.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)


def visible_json(text: str) -> str:
    """JSON that says the same and holds no such character."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def styled(*parts: str | tuple[str, str]) -> Text:
    """A text of parts, some of them with a style."""
    return Text.assemble(
        *((visible(part), "") if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts)
    )


class Stream:
    """``sys.stdout`` or ``sys.stderr`` of this moment; what cannot be written is left out.

    Args:
        name: Of the stream in ``sys``.

    Attributes:
        left: Whether its reader has gone, as ``head`` goes when it has seen enough.
        trouble: Why something could not be written although there is a reader: a full disk; empty: nothing.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.left = False
        self.trouble = ""

    @property
    def _stream(self) -> TextIO | None:
        stream: TextIO | None = getattr(sys, self._name)  # None: it was closed before this process began
        # While a live display is shown, rich puts something in the stream's place that writes to the console again.
        shown_by: TextIO | None = getattr(stream, "rich_proxied_file", stream)
        return shown_by

    @property
    def encoding(self) -> str:
        """Of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person looks."""
        try:
            return self._stream is not None and self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """Of the stream.

        Raises:
            OSError: it has none.
        """
        if self._stream is None:
            raise OSError(f"{self._name} is closed")
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Write as much as there is somebody to read."""
        stream = self._stream
        if stream is None or self.left or self.trouble:
            return len(text)
        encodable = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        try:
            stream.write(encodable)
            stream.flush()
        except (OSError, ValueError) as error:
            self.left = isinstance(error, BrokenPipeError)
            self.trouble = "" if self.left else str(getattr(error, "strerror", None) or error)
            self._forget(stream)
        return len(text)

    def flush(self) -> None:
        """Nothing: what was written is flushed."""

    @staticmethod
    def _forget(stream: TextIO) -> None:
        """Let what is left in the stream's buffer go nowhere: Python would try once more when it ends, and complain."""
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
            stream.flush()
        except (OSError, ValueError):
            return


class PlainConsole(Console):
    """A console that prints texts as they are; what is to have a style is a ``Text`` or has it as an argument."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is printed, cells of tables included."""
        return super().render_str(visible(text), **options)


def console_of(stream: Stream, *, stderr: bool = False) -> PlainConsole:
    """A console that writes to a stream."""
    made = PlainConsole(
        file=stream,  # type: ignore[arg-type]  # of a file rich takes no more than what this has
        stderr=stderr,
        markup=False,
        highlight=False,
        soft_wrap=True,
        emoji=False,
    )
    if not made.is_terminal:
        made.width = _WIDE
    return made
