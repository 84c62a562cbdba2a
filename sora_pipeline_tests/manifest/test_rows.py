import csv
import datetime as dt
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sora_pipeline.clip import Size
from sora_pipeline.manifest.images import ImageFinding
from sora_pipeline.manifest.limits import ModelLimits
from sora_pipeline_tests.manifest.conftest import WriteCsv, image_is_there, load


@pytest.mark.parametrize(
    "written", ["8", " 8 ", "8.0", "+8", "8,0", "8,00", "8s", "8 s", "8 sec", "8 Seconds", "8,0 s"]
)
def test_a_duration_may_be_written_as_spreadsheets_write_it(manifest: WriteCsv, written: str) -> None:
    assert load(manifest({"prompt": "a", "duration": written})).clips[0].duration == 8


@pytest.mark.parametrize("written", ["1280x720", "1280*720", "1280X720", " 1280 x 720 ", "1280\u00d7720"])
def test_a_size_is_normalised(manifest: WriteCsv, written: str) -> None:
    assert load(manifest({"prompt": "a", "size": written})).clips[0].size == Size(1280, 720)


def test_blank_cells_mean_the_defaults(manifest: WriteCsv) -> None:
    blank = {"image": "", "duration": " ", "size": "", "model": "", "takes": "", "clip_id": ""}
    [clip] = load(manifest({"prompt": " a\r\nb ", **blank})).clips
    assert (clip.prompt, clip.image, clip.image_sha256, clip.take) == ("a\nb", None, None, 1)
    assert (clip.duration, str(clip.size), clip.model, clip.simulated) == (4, "720x1280", "sora-2", True)


def test_every_problem_of_every_row_is_reported_with_what_is_allowed(manifest: WriteCsv) -> None:
    path = manifest(
        {"prompt": "fine"},
        {"prompt": "", "duration": "5", "size": "1x1", "takes": "0", "clip_id": "a/b", "image": "x.png"},
        {"prompt": "two", "duration": "long", "model": "sora-3", "image": "missing.png", "clip_id": "two"},
        {"prompt": "x" * 201, "image": "missing.png"},
        {"prompt": "three", "duration": "-4", "clip_id": "three"},
    )
    snapshot = load(path)
    assert [clip.prompt for clip in snapshot.clips] == ["fine"]
    third = snapshot.invalid[2].clip_id
    assert [problem.sentence("prompts.csv") for problem in snapshot.problems] == [
        "prompts.csv, row 3, column prompt: the value is blank; allowed: text of 1 to 200 characters",
        'prompts.csv, row 3, column duration: "5" is not a duration of sora-2; allowed: 4, 8 or 12',
        'prompts.csv, row 3, column size: "1x1" is not a size of sora-2; allowed: 720x1280 or 1280x720',
        'prompts.csv, row 3, column takes: "0" is not a possible number of takes; allowed: a whole number from 1 to 100',
        'prompts.csv, row 3, column clip_id: "a/b" is not safe as a file name; allowed: up to 100 of A-Z a-z 0-9 _ - '
        "and single dots, beginning with a letter or digit, not ending in a dot",
        'prompts.csv, row 4 (clip two), column duration: "long" is not a whole number; allowed: 4, 8 or 12',
        'prompts.csv, row 4 (clip two), column image: "missing.png" does not exist; allowed: a path relative to the manifest\'s '
        "folder, a URL or an fsspec URI of a picture that can begin a 720x1280 video",
        'prompts.csv, row 4 (clip two), column model: "sora-3" is not a model of this provider; allowed: sora-2 or sora-2-pro',
        f'prompts.csv, row 5 (clip {third}), column prompt: "{"x" * 79}…" has 201 characters; allowed: text of 1 to 200 characters',
        f'prompts.csv, row 5 (clip {third}), column image: "missing.png" does not exist; allowed: a path relative to the manifest\'s '
        "folder, a URL or an fsspec URI of a picture that can begin a 720x1280 video",
        'prompts.csv, row 6 (clip three), column duration: "-4" is not a duration of sora-2; allowed: 4, 8 or 12',
    ]
    assert [row.clip_id for row in snapshot.invalid][:2] == [None, "two"]
    assert str(snapshot.invalid[2].clip_id).startswith("x" * 40)
    assert {problem.clip_id for problem in snapshot.invalid[1].problems} == {"two"}


@pytest.mark.parametrize(
    ("column", "written", "suggestion"),
    [
        ("model", "sora2-pro", "sora-2-pro"),
        ("model", "SORA 2", "sora-2"),
        ("model", "sora-2-por", "sora-2-pro"),
        ("model", "veo", ""),
        ("size", "1280:720", "1280x720"),
        ("size", "1280 by 720 px", "1280x720"),
        ("size", "1280x702", "1280x720"),
        ("size", "7x7", ""),
        ("size", "large", ""),
        ("size", "9" * 200_000, ""),
        ("duration", "1,000", ""),
    ],
)
def test_what_is_nearly_right_is_suggested_and_not_taken(
    manifest: WriteCsv, column: str, written: str, suggestion: str
) -> None:
    snapshot = load(manifest({"prompt": "a", column: written}))
    assert not snapshot.clips
    [problem] = snapshot.problems
    assert problem.suggestion == suggestion
    assert problem.message.endswith(f"Did you mean {suggestion}?") == bool(suggestion)


def test_what_a_model_can_make_is_asked_of_the_rows_model(manifest: WriteCsv) -> None:
    path = manifest(
        {"prompt": "a", "size": "1024x1792", "model": "sora-2-pro"},
        {"prompt": "b", "size": "1024x1792"},
    )
    snapshot = load(path)
    assert [clip.prompt for clip in snapshot.clips] == ["a"]
    assert [problem.column for problem in snapshot.problems] == ["size"]


def test_a_default_that_the_model_cannot_make_is_no_silent_choice(manifest: WriteCsv) -> None:
    limits = {"wide": ModelLimits((10,), (Size(1280, 720),), 100)}
    snapshot = load(manifest({"prompt": "a"}), limits=limits, default_model="wide")
    assert [problem.message for problem in snapshot.problems] == [
        "the value is blank, and 4 is not a duration of wide; allowed: 10",
        "the value is blank, and 720x1280 is not a size of wide; allowed: 1280x720",
    ]


def test_an_unknown_default_model_is_the_callers_mistake(manifest: WriteCsv) -> None:
    with pytest.raises(ValueError, match=r"sora-9.*sora-2 or sora-2-pro"):
        load(manifest({"prompt": "a"}), default_model="sora-9")


def test_a_prompt_with_unquoted_commas_is_reported_not_cut(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt,duration\nA cat, on a roof, at night,4\nA dog,4,\n")
    snapshot = load(tmp_path / "m.csv")
    assert [clip.prompt for clip in snapshot.clips] == ["A dog"]
    assert any("double quotes" in problem.message for problem in snapshot.problems)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("duration", True),
        ("duration", 8.5),
        ("duration", [8]),
        ("takes", 10**30),
        ("takes", -1),
        ("size", 720),
        ("prompt", 7),
        ("prompt", "a\0b"),
        ("model", 2),
        ("image", {"path": "a.png"}),
        ("clip_id", True),
        ("clip_id", ".hidden"),
        ("clip_id", "a..b"),
        ("clip_id", "a."),
        ("clip_id", "x" * 101),
        ("clip_id", "ä"),
        ("clip_id", "a b"),
    ],
)
def test_a_typed_value_of_the_wrong_kind_is_a_problem_of_its_row(
    tmp_path: Path, column: str, value: Any
) -> None:
    values = pa.array([value if not isinstance(value, int) or abs(value) < 2**63 else float(value)])
    prompt = {} if column == "prompt" else {"prompt": ["a cat"]}
    pq.write_table(pa.table({**prompt, column: values}), tmp_path / "m.parquet")
    snapshot = load(tmp_path / "m.parquet")
    assert not snapshot.clips
    assert [problem.column for problem in snapshot.problems] == [column]


@pytest.mark.parametrize("value", [7, 7.0, "7", " 7 "])
def test_a_number_may_be_an_id(tmp_path: Path, value: Any) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "clip_id": [value]}), tmp_path / "m.parquet")
    assert load(tmp_path / "m.parquet").clips[0].clip_id == "7"


def test_an_image_is_checked_once_per_size_and_several_at_a_time(manifest: WriteCsv) -> None:
    together = threading.Barrier(3, timeout=10)
    asked: list[tuple[str, Size]] = []

    def check(image: str, size: Size) -> ImageFinding:
        asked.append((Path(image).name, size))
        together.wait()
        return image_is_there(image, size)

    images = [("a.png", "720x1280"), ("a.png", "720x1280"), ("a.png", "1280x720"), ("b.png", "")]
    rows = [{"prompt": str(n), "image": image, "size": size} for n, (image, size) in enumerate(images)]
    snapshot = load(manifest(*rows), image_check=check)
    assert len(asked) == len(set(asked)) == 3
    assert snapshot.clips[0].image_sha256 == snapshot.clips[2].image_sha256 != snapshot.clips[3].image_sha256


def test_an_image_is_checked_even_where_the_row_has_other_problems(manifest: WriteCsv) -> None:
    snapshot = load(manifest({"prompt": "a", "duration": "5", "image": "missing.png"}))
    assert [problem.column for problem in snapshot.problems] == ["duration", "image"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), "a date and time"),
        (dt.date(2026, 1, 2), "a date"),
        (dt.time(3, 4), "a time of day"),
        (dt.timedelta(seconds=4), "a length of time"),
        (b"a cat", "bytes"),
        (Decimal("1.50"), "a number"),
        (7, "a number"),
        (0.5, "a number"),
        (True, "a truth value"),
        (["a cat"], "a list"),
        ({"text": "a cat"}, "a record"),
    ],
)
@pytest.mark.parametrize("column", ["prompt", "image", "model", "size"])
def test_what_is_no_text_is_a_problem_of_its_row_and_the_others_go_on(
    tmp_path: Path, column: str, value: Any, kind: str
) -> None:
    """Else a column of dates, taken for the prompts by a slip, would be paid for row by row."""
    others = {} if column == "prompt" else {"prompt": ["a cat", "a dog"]}
    typed = pa.table({**others, column: pa.array([value, None]), "note": pa.array([value, None])})
    pq.write_table(typed, tmp_path / "m.parquet")
    snapshot = load(tmp_path / "m.parquet")
    problems = [problem for problem in snapshot.problems if problem.row_number == 1]
    assert [(problem.column, problem.fault) for problem in problems] == [(column, f"is {kind}, not text")]
    assert problems[0].value
    assert problems[0].allowed
    assert snapshot.invalid[0].values[column] is None, "as text in failed.csv it would be taken"
    assert snapshot.invalid[0].values["note"] is not None
    assert [clip.prompt for clip in snapshot.clips] == ([] if column == "prompt" else ["a dog"])


def test_a_date_in_a_workbook_is_no_prompt(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (["prompt", "day"], [dt.date(2026, 1, 2), dt.date(2026, 1, 2)], ["a cat", None]):
        sheet.append(row)
    book.save(tmp_path / "m.xlsx")
    snapshot = load(tmp_path / "m.xlsx")
    assert [problem.message for problem in snapshot.problems] == [
        '"2026-01-02" is a date, not text; allowed: text of 1 to 200 characters'
    ]
    assert [clip.prompt for clip in snapshot.clips] == ["a cat"]


def test_texts_that_are_no_utf_8_are_problems_of_their_rows(tmp_path: Path) -> None:
    texts = pa.array([b"caf\xe9", b"caf\xc3\xa9"]).view(pa.string())
    for prompts in (texts, texts.dictionary_encode()):
        pq.write_table(pa.table({"prompt": prompts}), tmp_path / "m.parquet")
        snapshot = load(tmp_path / "m.parquet")
        assert [clip.prompt for clip in snapshot.clips] == ["café"]
        assert [problem.fault for problem in snapshot.problems] == ["is bytes, not text"]


@pytest.mark.parametrize("surplus", ["", "c,a dog,x,unquoted\n"])
@pytest.mark.parametrize("column", ["prompt", "note", "image"])
def test_a_cell_that_is_too_long_is_a_problem_of_its_row(tmp_path: Path, column: str, surplus: str) -> None:
    cells = {"clip_id": "a", "prompt": "a cat", "note": "n", "image": "a.png", column: "x" * 200_000}
    lines = [
        ",".join(cells),
        ",".join(cells.values()),
        "b,a dog,n,b.png",
        surplus and "c,a dog, x, c.png, surplus",
    ]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    snapshot = load(tmp_path / "m.csv")
    assert [clip.clip_id for clip in snapshot.clips] == ["b"]
    first = snapshot.problems[0]
    assert (first.row_number, first.column, first.fault.replace(",", "")) == (
        1,
        column,
        "has 200000 characters",
    )
    assert len(first.sentence("m.csv")) < 400


@pytest.mark.parametrize("value", ["a\0b", ["a\0b"], {"x": "a\0b"}])
def test_a_nul_in_any_cell_is_a_problem_of_its_row(tmp_path: Path, value: Any) -> None:
    pq.write_table(
        pa.table({"prompt": ["a cat", "a dog"], "note": pa.array([value, None])}), tmp_path / "m.parquet"
    )
    snapshot = load(tmp_path / "m.parquet")
    assert [(problem.column, problem.fault) for problem in snapshot.problems] == [
        ("note", "holds a NUL character")
    ]
    assert [clip.prompt for clip in snapshot.clips] == ["a dog"]


def test_reading_long_cells_changes_no_limit_of_the_process(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "m.csv").write_text(f"prompt,x\n{'x' * 200_000},1\nb,2,3\n")
    load(tmp_path / "m.csv")
    assert csv.field_size_limit() == before
