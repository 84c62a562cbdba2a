"""Small files that unpack to more than a machine has: refused in words, within bounds of memory that are measured."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sora_pipeline.manifest import bounds
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.reading import read_manifest
from sora_pipeline_tests.manifest.conftest import load

MOST_MIB = 640
"""Of memory, the program itself and its libraries (some 150 MiB) included; before there were bounds, 5.8 GB and more."""

Bomb = Callable[[Path], None]


def parquet(path: Path, columns: dict[str, pa.Array], **options: object) -> None:
    pq.write_table(pa.table(columns), path, **options)  # type: ignore[arg-type]


def one_value(rows: int, value: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(memoryview(bytearray(4 * rows)).cast("i")), [value])


def many_rows(path: Path) -> None:
    """Of one value, in few kB."""
    parquet(path, {"prompt": one_value(20_000_000, "a cat")}, compression="zstd", row_group_size=20_000_000)


def one_long_value(path: Path) -> None:
    parquet(path, {"prompt": one_value(500_000, "a cat" * 200_000)})


def long_list(path: Path) -> None:
    values = pa.array(memoryview(bytearray(21_000_000)).cast("b"))
    parquet(path, {"prompt": pa.array(["a cat"]), "x": pa.ListArray.from_arrays([0, len(values)], values)})


def long_list_of_texts(path: Path) -> None:
    texts = one_value(2_000, "a cat" * 200_000)
    parquet(path, {"prompt": pa.array(["a cat"]), "x": pa.ListArray.from_arrays([0, len(texts)], texts)})


def wide_values(path: Path) -> None:
    wide = pa.array([b"\0" * 1_000_000], pa.binary(1_000_000))
    parquet(path, {"prompt": one_value(300, "a"), "x": wide.take(pa.array([0] * 300))}, compression="zstd")


def many_columns(path: Path) -> None:
    parquet(path, {f"c{n}": pa.array(["a"]) for n in range(10_000)})


def lists_in_lists(path: Path) -> None:
    value: object = "a"
    for _ in range(40):
        value = [value]
    parquet(path, {"prompt": pa.array(["a"]), "x": pa.array([value])})


def nothing_but_nulls(path: Path) -> None:
    nulls = pa.nulls(900_000, pa.int8())
    parquet(path, {"prompt": one_value(900_000, "a"), **{f"c{n}": nulls for n in range(200)}})


def large_footer(path: Path) -> None:
    parquet(path, {"prompt": pa.array(["a"])})
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes(20 * 2**20) + (20 * 2**20).to_bytes(4, "little") + b"PAR1")


PARQUET_BOMBS = [
    (many_rows, "20,000,000 rows; up to 1,000,000"),
    (one_long_value, "MiB or more; up to 256 MiB"),
    (long_list, "21,000,001 cells; up to 20,000,000"),
    (long_list_of_texts, "MiB or more; up to 256 MiB"),
    (wide_values, "MiB or more; up to 256 MiB"),
    (many_columns, "10,000 columns; up to 1,000"),
    (lists_in_lists, "lists in lists; up to 8"),
    (nothing_but_nulls, "cells; up to 20,000,000"),
    (large_footer, "footer is too large"),
]

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
SHEET, TEXTS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
HEADER = '<row r="1"><c r="A1" t="str"><v>prompt</v></c></row>'


def sheet(body: str) -> bytes:
    return f"<worksheet {MAIN}><sheetData>{HEADER}{body}</sheetData></worksheet>".encode()


def workbook(path: Path, parts: dict[str, bytes], spaces: str = "") -> None:
    """A workbook as openpyxl writes it, with some parts replaced, and 300 MiB of spaces behind one of them."""
    plain, out = io.BytesIO(), io.BytesIO()
    openpyxl.Workbook().save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted({*source.namelist(), *parts}):
            with target.open(name, "w") as part:
                part.write(parts[name] if name in parts else source.read(name))
                for _ in range(300 if name == spaces else 0):
                    part.write(b" " * 2**20)
    path.write_bytes(out.getvalue())


def far_corner(path: Path) -> None:
    """Two cells: a reader that makes a table of them asks for half a terabyte, and ends the process."""
    workbook(path, {SHEET: sheet('<row r="900000"><c r="XFD900000"><v>1</v></c></row>')})


def far_empty_text(path: Path) -> None:
    workbook(path, {SHEET: sheet('<row r="900000"><c r="XFD900000" t="str"><v></v></c></row>')})


def far_cell_with_prefix(path: Path) -> None:
    xml = sheet('<row r="900000"><c r="XFD900000"><v>1</v></c></row>').decode()
    for name in ("worksheet", "sheetData", "row", "c", "v"):
        xml = xml.replace(f"<{name}", f"<x:{name}").replace(f"</{name}", f"</x:{name}")
    workbook(path, {SHEET: xml.replace("x:x:", "x:").replace("xmlns=", "xmlns:x=").encode()})


def shared_text(path: Path) -> None:
    rows = "".join(f'<row r="{n}"><c r="A{n}" t="s"><v>0</v></c></row>' for n in range(2, 100_000))
    texts = f"<sst {MAIN}><si><t>{'a cat' * 200_000}</t></si></sst>".encode()
    workbook(path, {SHEET: sheet(rows), TEXTS: texts})


def white_space(path: Path) -> None:
    workbook(path, {SHEET: sheet("")}, spaces=SHEET)


def entities(path: Path) -> None:
    names = [f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12)]
    doctype = f'<!DOCTYPE worksheet [<!ENTITY e0 "aaaaaaaaaa">{"".join(names)}]>'
    body = '<row r="2"><c r="A2" t="str"><v>&e11;</v></c></row>'
    workbook(path, {SHEET: doctype.encode() + sheet(body)})


def two_text_parts(path: Path) -> None:
    texts = f"<sst {MAIN}><si><t>a</t></si></sst>".encode()
    workbook(path, {SHEET: sheet(""), TEXTS: texts, TEXTS.lower(): texts})


def lying_directory(path: Path) -> None:
    """The zip directory says 1,000 bytes, and there are 300 million."""
    workbook(path, {SHEET: sheet("")}, spaces=SHEET)
    content = path.read_bytes()
    size = (len(sheet("")) + 300 * 2**20).to_bytes(4, "little")
    assert content.count(size) >= 1
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))


EXCEL_BOMBS = [
    (far_corner, "16,384 columns, blank ones included; up to 1,000"),
    (far_empty_text, "16,384 columns, blank ones included; up to 1,000"),
    (far_cell_with_prefix, "16,384 columns, blank ones included; up to 1,000"),
    (shared_text, "MiB or more; up to 256 MiB"),
    (white_space, "MiB or more; up to 256 MiB"),
    (entities, "declares a document type"),
    (two_text_parts, "share a name"),
    (lying_directory, "cannot be read"),
]


def wide_header(path: Path) -> None:
    path.write_bytes(b"prompt" + b"," * 19_000_000 + b"\na\n")


def wide_row(path: Path) -> None:
    path.write_bytes(b"prompt\na" + b",x" * 30_000_000)


def many_lines(path: Path) -> None:
    path.write_bytes(b"prompt\n" + b"a\n" * 19_000_000)


def many_blank_lines(path: Path) -> None:
    """Blank ones count, and nothing below them is left out without a word."""
    path.write_bytes(b"prompt\na\n" + b"\n" * 2_000_000 + b"b\n")


def larger_than_allowed(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"prompt\n")
        file.truncate(bounds.MAX_BYTES + 1)


def takes_of_takes(path: Path) -> None:
    path.write_bytes(b"prompt,takes\n" + b"".join(b"a cat %d,100\n" % n for n in range(20_000)))


CSV_BOMBS = [
    (wide_header, "19,000,001 columns; up to 1,000"),
    (wide_row, "cells; up to 20,000,000"),
    (many_lines, "rows, blank ones included; up to 1,000,000"),
    (many_blank_lines, "rows, blank ones included; up to 1,000,000"),
    (larger_than_allowed, "256 MiB or more; up to 256 MiB"),
    (takes_of_takes, "2,000,000 clips, takes included; up to 1,000,000"),
]


def one_long_line(path: Path) -> None:
    path.write_bytes(b'{"prompt": "' + b"a" * (200 << 20) + b'"}\n')


def lists_in_a_line(path: Path) -> None:
    """Each line may be as long as it is allowed: two bytes become an object of Python."""
    line = b'{"prompt": "a", "x": [' + b"{}," * (2_700_000) + b"1]}\n"
    path.write_bytes(line * 8)


def brackets_in_brackets(path: Path) -> None:
    path.write_bytes(b'{"prompt": "a", "x": ' + b"[" * 4_000_000 + b"]" * 4_000_000 + b"}\n")


def a_key_a_line(path: Path) -> None:
    path.write_bytes(b"".join(b'{"prompt": "a", "k%d": 1}\n' % n for n in range(900_000)))


def values_without_end(path: Path) -> None:
    keys = b", ".join(b'"k%d": 1' % n for n in range(900))
    path.write_bytes(b'{"prompt": "a", ' + keys + b"}\n" + b'{"prompt": "a"}\n' * 100_000)


JSONL_BOMBS = [
    (one_long_line, "line 1 is longer than 8 MiB"),
    (lists_in_a_line, "cells; up to 20,000,000"),
    (brackets_in_brackets, "line 1 is nested too deeply"),
    (a_key_a_line, "1,001 columns; up to 1,000"),
    (values_without_end, "cells; up to 20,000,000"),
    (larger_than_allowed, "256 MiB or more; up to 256 MiB"),
]

READ = """
import re, sys
from pathlib import Path
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline_tests.manifest.conftest import load
try:
    load(sys.argv[1])
    print("read")
except ManifestError as error:
    print(error)
# Not ru_maxrss, which begins with what the parent had at its highest.
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def read_in_a_process(path: Path) -> tuple[str, int]:
    """What is said of a file, and how many MiB that took; a reader that ends the process fails here."""
    ended = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    *said, mib = ended.stdout.strip().splitlines()
    return "\n".join(said), int(mib)


@pytest.mark.parametrize(
    ("bomb", "words", "ending"),
    [
        *((bomb, words, "parquet") for bomb, words in PARQUET_BOMBS),
        *((bomb, words, "xlsx") for bomb, words in EXCEL_BOMBS),
        *((bomb, words, "csv") for bomb, words in CSV_BOMBS),
        *((bomb, words, "jsonl") for bomb, words in JSONL_BOMBS),
    ],
)
def test_a_bomb_is_refused_in_words_and_in_little_memory(
    tmp_path: Path, bomb: Bomb, words: str, ending: str
) -> None:
    path = tmp_path / f"bomb.{ending}"
    bomb(path)
    said, mib = read_in_a_process(path)
    assert words in said
    assert str(path) in said
    assert mib < MOST_MIB


def test_a_million_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    numbers = pa.array(range(bounds.MAX_ROWS))
    prompts = pa.array([f"a cat number {n}" for n in range(bounds.MAX_ROWS)])
    parquet(path, {"prompt": prompts, "n": numbers})
    assert len(read_manifest(str(path)).rows) == bounds.MAX_ROWS
    path = tmp_path / "large.csv"
    path.write_bytes(b"prompt\n" + b"".join(b"a cat %d\n" % n for n in range(bounds.MAX_ROWS)))
    assert len(read_manifest(str(path)).rows) == bounds.MAX_ROWS


def test_what_is_not_needed_is_not_decoded(tmp_path: Path) -> None:
    """An output manifest that is handed in: its report columns are of no interest, however much they hold."""
    path = tmp_path / "m.parquet"
    prompts = pa.array([f"a cat {n}" for n in range(1000)])
    parquet(path, {"prompt": prompts, "error_message": one_value(1000, "x" * 1_000_000)})
    assert len(load(path).clips) == 1000


def test_cells_far_away_that_only_have_a_format_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "m.xlsx"
    body = (
        '<row r="2"><c r="A2" t="str"><v>a cat</v></c></row><row r="1048576"><c r="XFD1048576" s="1"/></row>'
    )
    workbook(path, {SHEET: sheet(body)})
    assert [clip.prompt for clip in load(path).clips] == ["a cat"]


def test_another_sheet_of_a_workbook_is_not_unpacked(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["prompt"])
    book.worksheets[0].append(["a cat"])
    book.create_sheet("Other")
    book.save(tmp_path / "m.xlsx")
    with zipfile.ZipFile(tmp_path / "m.xlsx") as source:
        parts = {name: source.read(name) for name in source.namelist()}
    workbook(tmp_path / "m.xlsx", parts, spaces="xl/worksheets/sheet2.xml")
    assert [clip.prompt for clip in load(tmp_path / "m.xlsx").clips] == ["a cat"]
    with pytest.raises(ManifestError, match="up to 256 MiB"):
        read_manifest(f"{tmp_path}/m.xlsx#Other")
