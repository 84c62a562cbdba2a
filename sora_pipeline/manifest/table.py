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
    """One row: its number (the first below the header is 1), its cells as the file types them, and cells beyond the last column."""

    number: int
    cells: tuple[Any, ...]
    surplus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Column names, stripped, and the rows that are not wholly blank, read anew each time they are gone through."""

    names: tuple[str, ...]
    rows: Streamed[Record]


def is_blank(value: Any) -> bool:
    """Whether a cell counts as not given: null, NaN, or nothing but white space."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value or value.isspace()
    return isinstance(value, float) and value != value
