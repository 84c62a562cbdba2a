"""The two ways a CSV file is read, by pandas and by the csv module, against each other."""

from itertools import zip_longest

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.csv_format import parse_csv, regular_records, strict_records
from sora_pipeline.manifest.problems import ManifestError

PIECES = st.sampled_from(
    ['"', '""', ",", "\n", "\r", "\r\n", " ", "a", "b", "NA", "1.0", "#", "'", "\\", "\0", "é"]
)
TEXTS = st.lists(PIECES, max_size=14).map("".join)


def table(text: str) -> list[list[str]]:
    """What the csv module makes of a text, without the lines before the first that is not blank."""
    records = list(strict_records("m.csv", text))
    while records and not records[0]:
        del records[0]
    return records


def padded(records: list[list[str]]) -> list[tuple[str, ...]]:
    width = len(records[0]) if records else 0
    return [tuple(cell or "" for cell, _ in zip_longest(cells, range(width))) for cells in records]


@settings(max_examples=1500, deadline=None)
@given(text=TEXTS)
@example('a\n"x"y\n')
@example('a\n""abc""\n')
@example('a,b\n"never, closed\nb\n')
@example("a,b\nx\n\ny,z\n")
@example("a,b\nx,1,2\n")
@example('a\r"x\r\ny"\rz\r')
def test_what_pandas_reads_is_what_the_csv_module_reads(text: str) -> None:
    records = regular_records(text)
    if records is not None:
        assert records == padded(table(text))


@pytest.mark.parametrize(
    "text", ["a,b\nx,1\n", 'a\n"x, ""y""\nz"\n', '\n\na,b\r\n,\r\nx\r\n\r\n"",y"z"\r\n', "NA,nan\nnull,1.0\n"]
)
def test_ordinary_files_are_read_by_pandas(text: str) -> None:
    assert regular_records(text) == padded(table(text))


def test_a_row_with_surplus_cells_keeps_its_number_and_them() -> None:
    rows = parse_csv("m.csv", b"prompt,x\na,1\n\nb,2, c, \n").rows
    assert [(row.number, row.cells, row.surplus) for row in rows] == [
        (1, ("a", "1"), ()),
        (3, ("b", "2"), (" c",)),
    ]


@pytest.mark.parametrize("cell", ['"x"y', '""x""', '"x" ', '"x""'])
def test_text_after_a_closing_quotation_mark_is_refused(cell: str) -> None:
    with pytest.raises(ManifestError, match="the row that begins on line 3"):
        parse_csv("m.csv", f"prompt,x\na,1\n{cell},2\n".encode())
