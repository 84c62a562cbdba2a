import codecs
import contextlib
import datetime as dt
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.reading import read_manifest
from sora_pipeline_tests.manifest.conftest import load
from sora_pipeline_tests.remote import put


def problem_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    return caught.value.reason


def prompts(path: Path, content: bytes) -> list[object]:
    path.write_bytes(content)
    return [row.values["prompt"] for row in read_manifest(str(path)).rows]


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.csv"


@pytest.mark.parametrize(
    "content",
    [
        b"prompt,duration\nA cat,4\n",
        codecs.BOM_UTF8 + b"prompt,duration\r\nA cat,4\r\n",
        b"\n prompt , duration \nA cat,4\n,\n\n  ,  \n",
        b"prompt,duration\rA cat,4\r",
        b",prompt\n0,A cat\n",
        b"prompt,duration,note\nA cat\n",
    ],
    ids=["plain", "bom-crlf", "blank rows and spaces", "old mac", "data frame index", "short row"],
)
def test_a_row_is_read_however_the_csv_was_saved(csv_file: Path, content: bytes) -> None:
    assert prompts(csv_file, content) == ["A cat"]


def test_quoted_prompts_may_hold_commas_quotes_and_lines(csv_file: Path) -> None:
    assert prompts(csv_file, b'prompt\r\n"A ""cat"",\r\non a roof"\r\n') == ['A "cat",\r\non a roof']


def test_rows_keep_their_numbers_when_blank_rows_are_left_out(csv_file: Path) -> None:
    csv_file.write_bytes(b"prompt,x\na,1\n\nb,1\n")
    assert [row.number for row in read_manifest(str(csv_file)).rows] == [1, 3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b" \n\n", ["empty"]),
        (b"prompt,duration\n", ["no rows"]),
        (b"prompt,duration\n,\n", ["no rows"]),
        (b"promt\na\n", ['Rename "promt"']),
        (b"text,seconds\na,4\n", ['"text", "seconds"', 'Rename "text" to "prompt"']),
        (b"colour,seconds\nred,4\n", ['"colour", "seconds"', "Add one"]),
        (b"prompt,durations\na,8\n", ['"durations"', '"duration"', "paid"]),
        (b"prompt,image s,Clip IDs\na,b,c\n", ['"image s"', '"image"']),
        (b"prompt,Status\na,8\n", ['"Status"', "rename"]),
        (b"prompt,prompt\na,b\n", ["more than one", '"prompt"']),
        (b"prompt,x, x\na,b,c\n", ["more than one", '"x"']),
        (b"prompt,poster_file_name\na,b\n", ["poster_file_name", "rename"]),
        (b"prompt,file_names\na,b\n", ["file_names", "rename"]),
        (b"prompt,video\na,b\n", ['"video"', "rename"]),
        (b'prompt\nfine\n"never closed\nb\n', ["line 3", "double quotes"]),
        (b"prompt\nfine\ncaf\xff\n", ["line 3", "0xff", "UTF-8"]),
        (b"PK\x03\x04zip", ["Excel", "CSV"]),
        (b"PAR1 but not really", ["Parquet"]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(
    csv_file: Path, content: bytes, words: list[str]
) -> None:
    reason = problem_of(csv_file, content)
    assert all(word in reason for word in words), reason


def test_a_missing_file_a_folder_and_an_unknown_scheme_are_told_apart(tmp_path: Path) -> None:
    put("gs://bucket/a.csv", b"")
    for uri, word in [
        (tmp_path / "none.csv", "no such file"),
        (tmp_path, "folder"),
        ("nonsense://host/a.csv", "nonsense"),
        ("gs://nowhere/none.csv", "no such file"),
        (f"zip://a.csv::{tmp_path}/a.zip", "one file behind another"),
    ]:
        with pytest.raises(ManifestError, match=word):
            read_manifest(str(uri))


def test_columns_of_an_output_manifest_are_dropped_and_named(csv_file: Path) -> None:
    csv_file.write_bytes(b"prompt,status,file_name,cost_usd,project\na,failed,v.mp4,1,p\n")
    file = read_manifest(str(csv_file))
    assert file.columns == ("prompt", "project")
    assert file.carried_columns == ("project",)
    assert file.ignored_columns == ("status", "file_name", "cost_usd")


def test_a_column_that_is_like_one_that_is_there_is_carried_through(csv_file: Path) -> None:
    csv_file.write_bytes(b"prompt,prompts,image,images,mode\na,b,,d,e\n")
    assert read_manifest(str(csv_file)).carried_columns == ("prompts", "images", "mode")


def test_a_manifest_is_read_from_a_uri_and_images_are_relative_to_it() -> None:
    put("gs://bucket/jobs/prompts.csv", b"prompt,image\na,../img/a.png\nb,https://host/b.png\nc,/abs/c.png\n")
    images = [clip.image for clip in load("gs://bucket/jobs/prompts.csv").clips]
    assert images == ["gs://bucket/img/a.png", "https://host/b.png", "/abs/c.png"]


def test_images_are_relative_to_the_manifests_folder(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt,image\na,./img/a.png\n")
    assert load(tmp_path / "m.csv").clips[0].image == str(tmp_path / "img/a.png")
    assert load(f"file://{tmp_path}/m.csv").clips[0].image == str(tmp_path / "img/a.png")


def test_parquet_values_survive_typed_or_as_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": pa.array(["a", "b"]).dictionary_encode(),
            "duration": [8.0, None],
            "model": pa.array([None, None], pa.null()),
            "when": [dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), None],
            "price": [Decimal("1.50"), None],
            "tags": [["x", "y"], []],
            "deep": [{"a": 1}, None],
            "score": [0.5, float("nan")],
            "raw": [b"\xff", b"ok"],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    clips = load(tmp_path / "m.parquet").clips
    assert [clip.duration for clip in clips] == [8, 4]
    assert clips[0].carried == {
        "when": "2026-01-02T03:00:00+00:00",
        "price": "1.50",
        "tags": ["x", "y"],
        "deep": {"a": 1},
        "score": 0.5,
        "raw": "/w==",
    }
    assert clips[1].carried == {
        "when": None,
        "price": None,
        "tags": [],
        "deep": None,
        "score": None,
        "raw": "ok",
    }


def test_a_data_frame_written_by_pandas_is_read_without_its_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], "duration": [8, None]}, index=[3, 5])
    frame.to_parquet(tmp_path / "m.parquet")
    frame.to_csv(tmp_path / "m.csv")
    for name in ("m.parquet", "m.csv"):
        snapshot = load(tmp_path / name)
        assert [clip.duration for clip in snapshot.clips] == [8, 4]
        assert snapshot.carried_columns == ()


def test_the_content_decides_where_the_extension_does_not(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "manifest")
    assert len(read_manifest(str(tmp_path / "manifest")).rows) == 1
    assert "not a Parquet file" in problem_of(tmp_path / "m.parquet", b"prompt\na\n")


def test_damaged_parquet_is_refused_in_words(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a" * 1000]}), tmp_path / "m.parquet")
    whole = (tmp_path / "m.parquet").read_bytes()
    assert "cannot be read" in problem_of(tmp_path / "m.parquet", whole[: len(whole) // 2])


CELL = st.text(max_size=12) | st.sampled_from(
    ["4", "8.0", "720x1280", "a.png", "sora-2", "..", "x" * 120, '"']
)
HEADER = st.lists(
    st.sampled_from(["prompt", "clip_id", "image", "duration", "size", "takes", "model", "x", "status"])
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=HEADER,
    rows=st.lists(st.lists(CELL, max_size=6), max_size=6),
    mark=st.sampled_from([",", ";", "\t"]),
)
def test_any_text_file_is_read_or_refused_in_words(
    tmp_path: Path, header: list[str], rows: list[list[str]], mark: str
) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes("\n".join(mark.join(cells) for cells in [header, *rows]).encode(errors="replace"))
    with contextlib.suppress(ManifestError):
        snapshot = load(path)
        assert snapshot.clips or snapshot.invalid


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60).map(lambda tail: b"prompt,duration\n" + tail) | st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.csv"
    path.write_bytes(content)
    with contextlib.suppress(ManifestError):
        load(path)
