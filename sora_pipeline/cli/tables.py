"""Tables that cut nothing: columns side by side where they fit, and else each row with one value a line."""

from collections.abc import Collection, Sequence

from rich.cells import cell_len
from rich.text import Text

from sora_pipeline.cli.terminal import broken_at_spaces, styled

_GAP = 2
_NARROWEST = 20
"""Cells of a column that is broken into lines; what is narrower is no text to read."""


Cells = Sequence[str | Text]


def table(
    header: Sequence[str], rows: Sequence[Cells], *, numbers: Collection[int] = (), width: int | None
) -> Text:
    """A table as text: columns side by side, or where these do not fit each row as lines.

    Args:
        header: Names of the columns; what stands in the first one is what the row is of.
        rows: Their cells.
        numbers: Places of the columns that hold some.
        width: Cells that a line may have; None: as many as it takes.
    """
    return side_by_side(header, rows, numbers=numbers, width=width) or Text("\n").join(
        [_stacked(header, row) for row in rows]
    )


def side_by_side(
    header: Sequence[str], rows: Sequence[Cells], *, numbers: Collection[int] = (), width: int | None
) -> Text | None:
    """The same, or None where the columns do not fit."""
    lines = [[styled((name, "bold")) for name in header], *map(_texts, rows)]
    widths = _widths(lines, width)
    return None if widths is None else Text("\n").join([_line(row, widths, numbers) for row in lines])


def _texts(row: Cells) -> list[Text]:
    return [each if isinstance(each, Text) else styled(each) for each in row]


def _widths(rows: Sequence[Sequence[Text]], width: int | None) -> list[int] | None:
    """How wide each column is: what is too wide is broken at spaces, the widest first; None: words would be cut."""
    columns = list(zip(*rows, strict=True))
    widths = [max(_cells(each) for each in column) for column in columns]
    if width is None:
        return widths
    longest = [
        max((cell_len(word) for each in column for word in each.plain.split()), default=0)
        for column in columns
    ]
    floors = [min(wide, max(word, _NARROWEST)) for wide, word in zip(widths, longest, strict=True)]
    room = width - _GAP * (len(widths) - 1)
    if sum(floors) > room:
        return None
    while (excess := sum(widths) - room) > 0:
        shrinkable = [place for place, wide in enumerate(widths) if wide > floors[place]]
        widest = max(shrinkable, key=widths.__getitem__)
        next_widest = max(
            (widths[place] for place in shrinkable if widths[place] < widths[widest]), default=0
        )
        widths[widest] = max(floors[widest], widths[widest] - excess, min(next_widest, widths[widest] - 1))
    return widths


def _cells(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n", allow_blank=True)), default=0)


def _line(row: Sequence[Text], widths: Sequence[int], numbers: Collection[int]) -> Text:
    """A row, its cells broken into lines where they are wider than their columns."""
    broken = [
        broken_at_spaces(cell, wide).split("\n", allow_blank=True)
        for cell, wide in zip(row, widths, strict=True)
    ]
    lines = []
    for number in range(max(map(len, broken))):
        line = Text()
        for place, parts in enumerate(broken):
            part = parts[number] if number < len(parts) else Text()
            blank = Text(" " * (widths[place] - part.cell_len))
            line.append_text(blank + part if place in numbers else part + blank).append(" " * _GAP)
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def _stacked(header: Sequence[str], row: Cells) -> Text:
    """A row as lines: what it is of, and below it each value that there is."""
    first, *others = _texts(row)
    values = zip(header[1:], others, strict=True)
    return Text("\n").join(
        [styled((first.plain, "bold")), *(styled(f"  {name}: ") + cell for name, cell in values if cell)]
    )
