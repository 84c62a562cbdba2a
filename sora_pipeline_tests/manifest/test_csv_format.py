"""How a CSV file is read, against how pandas reads it: both are to see the same rows wherever both read it."""

import io
import re

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.csv_format import parse_csv
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.spool import Spool

PIECES = st.sampled_from(
    ['"', '""', ",", "\n", "\r", "\r\n", " ", "a", "b", "NA", "1.0", "#", "'", "\\", "\0", "é"]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)
HEADER = "prompt,x\n"
# Where every quotation mark that opens a cell is closed at the cell's end: pandas takes "a"b for ab.
QUOTED_CELL = r'(?<![^,\r\n])"[^"]*+(?:""[^"]*+)*+"(?![^,\r\n])'
QUOTED_WELL = re.compile(rf'(?:[^"]++|{QUOTED_CELL}|(?<=[^,\r\n])")*+')


def read_by_pandas(text: str) -> list[tuple[int, tuple[str, ...]]] | None:
    """Number and cells of every row that is not blank; None where pandas gives no row out, or guesses."""
    if QUOTED_WELL.fullmatch(text) is None or "\0" in text:
        return None
    try:
        frame = pd.read_csv(
            io.StringIO(text, newline=""),
            header=None,
            dtype=str,
            keep_default_na=False,
            na_filter=False,
            skip_blank_lines=False,
        )
    except pd.errors.ParserError:  # a row with surplus cells
        return None
    records = list(zip(*(frame[column].tolist() for column in frame), strict=True))
    return [(number, cells) for number, cells in enumerate(records) if number and "".join(cells).strip()]


@settings(max_examples=1500, deadline=None)
@given(text=TEXTS)
@example('"x"y\n')
@example('""abc""\n')
@example('"never, closed\nb\n')
@example("x\n\ny,z\n")
@example("x,1,2\n")
@example('"x\r\ny"\rz\r')
@example("NA,nan\nnull,1.0\n")
@example('"x, ""y""\nz"\n,\r\nx\r\n\r\n"",y"z"\r\n')
def test_what_pandas_reads_is_read_alike(text: str) -> None:
    expected = read_by_pandas(HEADER + text)
    if expected is not None:
        table = parse_csv("m.csv", Spool.of((HEADER + text).encode()))
        assert [(row.number, row.cells) for row in table.rows] == expected
        assert not any(row.surplus for row in table.rows)


def test_a_row_with_surplus_cells_keeps_its_number_and_them() -> None:
    rows = parse_csv("m.csv", Spool.of(b"prompt,x\na,1\n\nb,2, c, \n")).rows
    assert [(row.number, row.cells, row.surplus) for row in rows] == [
        (1, ("a", "1"), ()),
        (3, ("b", "2"), (" c",)),
    ]


@pytest.mark.parametrize("cell", ['"x"y', '""x""', '"x" ', '"x""'])
def test_text_after_a_closing_quotation_mark_is_refused(cell: str) -> None:
    with pytest.raises(ManifestError, match="the row that begins on line 3"):
        parse_csv("m.csv", Spool.of(f"prompt,x\na,1\n{cell},2\n".encode()))
