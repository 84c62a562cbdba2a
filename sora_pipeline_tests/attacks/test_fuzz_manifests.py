"""Damaged and odd manifests, made from real files by mutation: read, or refused in words; nothing else ever comes out."""

import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet
from sora_pipeline_tests.manifest.conftest import load
from sora_pipeline_tests.manifest.written import files_of

MUTANTS = 250
"""Of each file; some 20 ms each."""


def csv_bytes() -> bytes:
    lines = [
        "clip_id,prompt,image,duration,size,model,takes,project,=price",
        'fox,"A ""red"" fox,\r\non a roof",a.png,8,1280x720,sora-2-pro,2,autumn,-1.5',
        "owl,An owl,,,,,,,=1+1",
        ",\u732b,missing.png,5,1x1,sora-9,0,,",
    ]
    return "\r\n".join(lines).encode()


def semicolon_bytes() -> bytes:
    lines = [
        "Prompt;Clip ID;duration;note",
        '"A ""red"" {note}; läuft";fox;8,0;"x\r\ny"',
        "An owl;;5;é",
        ";;;",
    ]
    return "\r\n".join(lines).encode("cp1252")


def jsonl_bytes() -> bytes:
    rows = [
        {"prompt": "a {tag} fox", "tag": "red", "duration": 8, "tags": ["x", None], "deep": {"a": [1.5]}},
        {"prompt": "an owl \u732b", "clip_id": 7, "takes": 2},
        {"prompt": None, "x": True},
    ]
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def columns() -> dict[str, Any]:
    return {
        "clip_id": ["fox", None, "cub"],
        "prompt": ["a fox", "an owl \u732b", None],
        "image": pa.array(["a.png", None, "missing.png"]).dictionary_encode(),
        "duration": [8.0, None, 5.0],
        "takes": pa.array([2, None, 1], pa.int8()),
        "when": pa.array([0, 1, None], pa.timestamp("us", tz="UTC")),
        "price": pa.array([1, 2, 3]).cast(pa.decimal128(21, 2)),
        "tags": [["x", "y"], [], None],
        "deep": [{"a": [{"b": 1}]}, None, {"a": []}],
        "pairs": pa.array([[("k", "v")], None, []], pa.map_(pa.string(), pa.string())),
        "raw": [b"\xff", b"", None],
    }


def parquet_bytes(**options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns()), sink, **options)
    return sink.getvalue()


def data_frame_bytes() -> bytes:
    sink = io.BytesIO()
    pd.DataFrame({"prompt": ["a", "b"], "x": [1.5, None]}, index=[3, 5]).to_parquet(sink)
    return sink.getvalue()


def workbook_bytes(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    book, plain, out = openpyxl.Workbook(), io.BytesIO(), io.BytesIO()
    sheet = book.worksheets[0]
    for row in (
        ["prompt", "duration", "day", "x"],
        ["a fox", 8, pd.Timestamp("2026-01-02"), "=1+1"],
        ["an owl"],
    ):
        sheet.append(row)
    sheet["D2"] = True
    book.create_sheet("Other")
    book.save(plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(out, "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return out.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "plain.csv": csv_bytes,
    "semicolons.csv": semicolon_bytes,
    "utf-16.csv": lambda: csv_bytes().decode().replace(",", "\t").encode("utf-16"),
    "rows.jsonl": jsonl_bytes,
    "snappy.parquet": parquet_bytes,
    "zstd.parquet": lambda: parquet_bytes(compression="zstd", data_page_version="2.0"),
    "flat.parquet": lambda: parquet_bytes(compression="none", use_dictionary=False),
    "frame.parquet": data_frame_bytes,
    "deflated.xlsx": workbook_bytes,
    "stored.xlsx": lambda: workbook_bytes(zipfile.ZIP_STORED),
}


def mutant(content: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four things done to them that happen to files, or are done to them."""
    mutated = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        size = len(mutated)
        if size < 8:
            break
        at, length = chance.randrange(size), chance.randint(1, min(64, size // 2))
        match chance.randrange(8):
            case 0:
                mutated[at] ^= 1 << chance.randrange(8)
            case 1:
                mutated[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x2C, 0x3C))
            case 2:
                del mutated[at : at + length]
            case 3:
                mutated[at:at] = mutated[at : at + length] * chance.randint(1, 4)
            case 4:
                mutated[at : at + length] = bytes(chance.randrange(256) for _ in range(length))
            case 5:
                del mutated[chance.randrange(size // 2, size) :]
            case 6:  # numbers: sizes, counts, offsets
                value = chance.choice((0, 1, 2**31 - 1, 2**32 - 1, size))
                mutated[at : at + 4] = value.to_bytes(4, "little")
            case _:
                other = chance.randrange(size)
                mutated[at : at + length] = mutated[other : other + length]
    return bytes(mutated)


def require_usable(snapshot: Snapshot) -> None:
    """What was read can go all the way: into a snapshot, and into every file that is published."""
    assert snapshot.clips or snapshot.invalid
    assert snapshot_from_parquet(snapshot_to_parquet(snapshot)) == snapshot
    assert all(files_of(snapshot, [], "prompts", stretch=1000).values())
    for problem in snapshot.problems:
        assert len(problem.sentence("m")) < 1000


def require_usable_or_refused(path: Path) -> None:
    said = None
    try:
        snapshot = load(path)
    except ManifestError as error:
        said = error
    else:
        require_usable(snapshot)
    if said is not None:
        assert said.uri == str(path)
        assert len(said.reason) < 2000


def fuzz(name: str, folder: Path, seed: int) -> None:
    content, chance = FILES[name](), random.Random(seed)
    path = folder / name
    path.write_bytes(content)
    require_usable(load(path))
    for number in range(MUTANTS):
        path.write_bytes(mutant(content, chance))
        try:
            require_usable_or_refused(path)
        except BaseException:
            print(f"mutant {number} of {name}, seed {seed}", file=sys.stderr)
            raise


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_or_refused_in_words(name: str, tmp_path: Path) -> None:
    """In a process of its own: a decoder that ends it is found as well."""
    code = f"from pathlib import Path; from {__name__} import fuzz; fuzz({name!r}, Path({str(tmp_path)!r}), 20261124)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.timedeltas(timedelta(-(10**5)), timedelta(10**5)),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9),
)
CELLS = VALUES | st.lists(VALUES.filter(lambda value: value is None or isinstance(value, str)), max_size=3)
NAMES = st.sampled_from(
    [
        "prompt",
        "clip_id",
        "image",
        "duration",
        "seed",
        "size",
        "model",
        "takes",
        "x",
        "=y",
        "status",
        "escaped_columns",
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(NAMES, CELLS, min_size=1), prompt=st.booleans())
def test_a_row_of_whatever_types_is_taken_or_a_problem(
    tmp_path: Path, values: dict[str, Any], prompt: bool
) -> None:
    cells = {"prompt": "a fox", **values} if prompt else {**values, "prompt": values.get("prompt")}
    pq.write_table(
        pa.table({name: pa.array([value, None]) for name, value in cells.items()}), tmp_path / "m.parquet"
    )
    require_usable_or_refused(tmp_path / "m.parquet")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(VALUES, min_size=2, max_size=4), min_size=1, max_size=4))
def test_a_workbook_of_whatever_cells_is_read_or_refused_in_words(
    tmp_path: Path, rows: list[list[Any]]
) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["prompt", "clip_id", "duration", "x"])
    for row in rows:
        try:
            book.worksheets[0].append(row)
        except (ValueError, openpyxl.utils.exceptions.IllegalCharacterError):
            return
    try:
        book.save(tmp_path / "m.xlsx")
    except (ValueError, OverflowError):
        return
    require_usable_or_refused(tmp_path / "m.xlsx")
