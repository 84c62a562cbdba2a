import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.reading import read_manifest
from sora_pipeline_tests.manifest.conftest import load

Workbook = Callable[..., Path]


@pytest.fixture
def workbook(tmp_path: Path) -> Workbook:
    """Write sheets by name, each a list of rows, and return the path."""

    def write(name: str = "prompts.xlsx", **sheets: list[list[Any]]) -> Path:
        book = openpyxl.Workbook()
        book.remove(book.worksheets[0])
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / name)
        return tmp_path / name

    return write


def refusal(uri: Path | str) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(str(uri))
    return caught.value.reason


def test_cells_mean_what_people_see(workbook: Workbook) -> None:
    path = workbook(
        Autumn=[
            ["prompt", "duration", "clip_id", "day", "moment", "hour", "score", "approved", "note"],
            [
                "A cat",
                8.0,
                7,
                dt.date(2026, 1, 2),
                dt.datetime(2026, 1, 2, 3, 4),
                dt.time(5, 6),
                0.5,
                True,
                " NA ",
            ],
            ["A dog"],
        ]
    )
    first, second = load(path).clips
    assert (first.prompt, first.duration, first.clip_id) == ("A cat", 8, "7")
    assert first.carried == {
        "day": "2026-01-02",
        "moment": "2026-01-02T03:04:00",
        "hour": "05:06:00",
        "score": 0.5,
        "approved": True,
        "note": " NA ",
    }
    assert (second.prompt, second.duration) == ("A dog", 4)


def test_blank_rows_are_left_out_and_counted(workbook: Workbook) -> None:
    path = workbook(Autumn=[[], ["prompt"], ["a"], [], [" "], ["b"]])
    assert [(row.number, row.values["prompt"]) for row in read_manifest(str(path)).rows] == [
        (1, "a"),
        (4, "b"),
    ]


def test_the_first_sheet_is_read_or_the_one_that_is_named(workbook: Workbook) -> None:
    path = workbook(
        Autumn=[["prompt"], ["leaves"]], **{"Deep winter": [["prompt", "image"], ["snow", "a.png"]]}
    )
    assert load(path).clips[0].prompt == "leaves"
    assert load(path).understanding.sentences == ['read as the first of 2 sheets, "Autumn"']
    for uri in (f"{path}#Deep winter", f"file://{path}#Deep%20winter"):
        (clip,) = load(uri).clips
        assert (clip.prompt, clip.image) == ("snow", str(path.with_name("a.png")))
        assert load(uri).understanding.sentences == []
    assert refusal(f"{path}#Spring") == (
        'there is no sheet "Spring" in this workbook. Name one that it has: "Autumn" or "Deep winter".'
    )


def test_errors_and_formulas_without_result_are_refused_by_cell(workbook: Workbook) -> None:
    path = workbook(
        Fine=[["prompt"], ["a"]],
        Broken=[["prompt", "duration"], ["a", "#REF!"], ["b", "=4+4"]],
    )
    book = openpyxl.load_workbook(path)
    book["Broken"]["A2"].font = book["Broken"]["C2"].font = openpyxl.styles.Font(
        bold=True
    )  # C2 is empty, and there
    book["Broken"]["D2"] = "#N/A"
    book.save(path)
    assert "never calculated: B2, D2, B3. Open" in refusal(f"{path}#Broken")
    assert len(read_manifest(str(path)).rows) == 1


def test_a_workbook_that_cannot_be_used_is_refused_in_words(workbook: Workbook, tmp_path: Path) -> None:
    assert "sheet is empty" in refusal(workbook(Empty=[]))
    assert "no rows" in refusal(workbook(Header=[["prompt", "duration"]]))
    assert "more than one column" in refusal(workbook(Twice=[["prompt", "prompt"], ["a", "b"]]))
    assert "no prompt column" in refusal(workbook(Numbers=[[1, 2], [3, 4]]))
    whole = workbook(Autumn=[["prompt"], ["a"]]).read_bytes()
    for content, words in [
        (b"prompt\na\n", "not an Excel workbook"),
        (b"\xd0\xcf\x11\xe0 and more", "password"),
        (b"PK\x03\x04zip", "cannot be read"),
        (whole[: len(whole) // 2], "cannot be read"),
    ]:
        (tmp_path / "m.xlsx").write_bytes(content)
        assert words in refusal(tmp_path / "m.xlsx")
    assert "no such file" in refusal(tmp_path / "none.xlsx#Autumn")


def test_a_missing_reader_is_said_with_what_to_install(
    workbook: Workbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "python_calamine", None)
    assert "pip install 'sora-pipeline[excel]'" in refusal(workbook(Autumn=[["prompt"], ["a"]]))
