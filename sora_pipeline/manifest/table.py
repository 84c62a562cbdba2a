"""A file's cells as they came, before anybody asks what the columns mean."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sora_pipeline.streams import Streamed


@dataclass(frozen=True, slots=True)
class NotText:
    """What stands in a cell that should hold text.

    Attributes:
        kind: What it is: ``a date``.
        shown: Its value, as people read it.
    """

    kind: str
    shown: str

    def __str__(self) -> str:
        return self.shown


class Record(NamedTuple):
    """One row.

    Attributes:
        number: The first below the header is 1.
        cells: As the file types them.
        surplus: Cells beyond the last column.
        fault: Why the row as a whole cannot be read; empty: it can.
    """

    number: int
    cells: tuple[Any, ...]
    surplus: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where people find a row: as a spreadsheet or an editor numbers it.

    Attributes:
        word: What is numbered: rows, or lines.
        above: How many stand above the row whose number is 1: the header, and blank ones above that.
    """

    word: str = "row"
    above: int = 0

    def of(self, number: int) -> str:
        """``row 14``, for the row of number 13."""
        return f"{self.word} {number + self.above}"


ROWS = Places()
"""Of a file without a header that people see."""


COMMA = ","


@dataclass(frozen=True, slots=True)
class Table:
    """A file's cells.

    Attributes:
        names: Of the columns, stripped.
        rows: Those that are not wholly blank, read anew each time they are gone through.
        places: Where people find them.
        read_as: What was guessed of how the file is written; nothing, where nothing was.
        delimiter: What separates its columns, where it is CSV.
        notes: What it holds that people could overlook, a sentence each.
        elsewhere: Where else in the file a manifest may be, as a sentence; empty: nowhere.
    """

    names: tuple[str, ...]
    rows: Streamed[Record]
    places: Places = ROWS
    read_as: tuple[str, ...] = ()
    delimiter: str = COMMA
    notes: tuple[str, ...] = ()
    elsewhere: str = ""


def is_blank(value: Any) -> bool:
    """Whether a cell counts as not given: null, NaN, or nothing but white space."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value or value.isspace()
    return isinstance(value, float) and value != value
