"""Tables, and texts of the code as Markdown."""

import re
from collections.abc import Iterable, Sequence

_DOUBLE = re.compile(r"``(.+?)``")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a bar in a cell is no border."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines) + "\n"


def prose(text: str) -> str:
    """A docstring's text, with code as Markdown marks it."""
    return _DOUBLE.sub(r"`\1`", " ".join(text.split()))


def code(text: object) -> str:
    """As code, or nothing."""
    return f"`{text}`" if str(text) else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
