"""Standard output and error as commands write to them: texts as they are, whoever wrote them and whoever reads them.

Texts come from manifests, providers, outputs and file names of others. Nothing in them is taken for markup, nothing in
them is obeyed by a terminal, and a stream that nobody reads any more ends no production and changes no exit code.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_WORD = re.compile(r"\S+\s*")
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


def broken_at_spaces(text: Text, width: int) -> Text:
    """A text with lines of at most this width, but for words that are longer; further lines begin as far in as the first."""
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        indent = len(line.plain) - len(line.plain.lstrip())
        offsets, filled = [], indent
        for word in _WORD.finditer(line.plain):
            if filled > indent and filled + cell_len(word.group().rstrip()) > width:
                offsets.append(word.start())
                filled = indent
            filled += cell_len(word.group())
        first, *further = line.divide(offsets)
        lines += [first, *(Text(" " * indent).append_text(each) for each in further)]
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


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


def columns_are_known() -> bool:
    """Whether COLUMNS says how wide a line may be: 0 means that nobody knows, and rich would cut each line to nothing."""
    columns = os.environ.get("COLUMNS", "")
    return columns.isascii() and columns.isdecimal() and int(columns) > 0


class PlainConsole(Console):
    """A console that prints texts as they are; what is to have a style is a ``Text`` or has it as an argument.

    On a terminal lines are broken at spaces and nowhere else: a path or an address that is cut cannot be copied. A file or a
    pipe has no edge to break lines at, unless COLUMNS says where one is; one that is no positive number says nothing.
    """

    def __init__(self, **options: Any) -> None:
        known = columns_are_known()
        environment = {name: value for name, value in os.environ.items() if known or name != "COLUMNS"}
        super().__init__(_environ=environment, **options)
        self.breaks_lines = self.is_terminal or known

    @property
    def room(self) -> int | None:
        """Cells that a line may have; None: as many as it takes."""
        return self.width if self.breaks_lines else None

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts."""
        if self.breaks_lines:
            objects = tuple(self._broken(each) for each in objects)
        super().print(*objects, **options)

    def _broken(self, printed: Any) -> Any:
        if isinstance(printed, str):
            printed = self.render_str(printed)
        return broken_at_spaces(printed, self.width) if isinstance(printed, Text) else printed

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is printed."""
        return super().render_str(visible(text), **options)


def console_of(stream: Stream, *, stderr: bool = False) -> PlainConsole:
    """A console that writes to a stream."""
    return PlainConsole(
        file=stream,
        stderr=stderr,
        markup=False,
        highlight=False,
        soft_wrap=True,
        emoji=False,
    )
