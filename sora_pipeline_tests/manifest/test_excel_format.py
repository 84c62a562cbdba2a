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


def test_what_is_merged_over_rows_stands_in_each_of_them(tmp_path: Path) -> None:
    """A person sees one value beside all of them; blanks would be made, and paid, at the defaults."""
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in (
        ["prompt", "duration", "campaign", "note"],
        ["a", 12, "spring", "x"],
        ["b", None, None, None],
        ["c", None, None, "y"],
        ["d", None, None, None],
    ):
        sheet.append(row)
    sheet.merge_cells("B2:B4")
    sheet.merge_cells("C2:C5")
    sheet.merge_cells("A8:B9")
    book.save(tmp_path / "merged.xlsx")
    snapshot = load(tmp_path / "merged.xlsx")
    assert [(each.prompt, each.duration, dict(each.carried)) for each in snapshot.clips] == [
        ("a", 12, {"campaign": "spring", "note": "x"}),
        ("b", 12, {"campaign": "spring", "note": ""}),
        ("c", 12, {"campaign": "spring", "note": "y"}),
        ("d", 4, {"campaign": "spring", "note": ""}),
    ]
    assert snapshot.understanding.sentences == [
        "merged cells stand in each row that they are merged over: B2:B4, C2:C5"
    ]


def test_what_is_hidden_is_said_to_be_read_and_a_hidden_sheet_is_not_the_first(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["prompt"])
    book.worksheets[0].append(["of last year"])
    book.worksheets[0].sheet_state = "hidden"
    sheet = book.create_sheet("New")
    for text in ("prompt", "a", "b", "c"):
        sheet.append([text])
    sheet.row_dimensions[3].hidden = True
    book.active = sheet
    book.save(tmp_path / "filtered.xlsx")
    snapshot = load(tmp_path / "filtered.xlsx")
    assert [each.prompt for each in snapshot.clips] == ["a", "b", "c"]
    assert snapshot.understanding.sentences == [
        'read as the first visible one of 2 sheets, "New"',
        "1 hidden row is read like the others; delete what is not to be made",
    ]


def test_clips_on_another_sheet_are_looked_for_there(workbook: Workbook) -> None:
    path = workbook(Cover=[["This is our campaign"], ["by us"]], Clips=[["prompt"], ["a"]])
    assert refusal(path).endswith(
        f'This is the first of 2 sheets, "Cover": name the one that has them, as in {path}#Clips'
    )


def test_title_above_the_names_is_told_from_names(workbook: Workbook, tmp_path: Path) -> None:
    book = workbook(Sheet=[["Our campaign"], [], ["clip_id", "Prompt"], ["a", "a fox"]])
    assert refusal(book).endswith("Row 3 seems to: remove what stands above it.")
    (tmp_path / "titled.csv").write_text("# our campaign,\nclip_id,prompt\na,a fox\n")
    assert refusal(tmp_path / "titled.csv").endswith("Row 2 seems to: remove what stands above it.")


def test_column_without_a_name_is_said_to_be_left_out_where_it_holds_something(
    workbook: Workbook, tmp_path: Path
) -> None:
    book = workbook(Sheet=[["prompt", None, "duration", None], ["a", None, 4, 12], ["b", None, None, None]])
    said = ["column 4 has no name, and what stands in it is left out; give it one if it is meant"]
    assert load(book).understanding.sentences == said
    (tmp_path / "index.csv").write_text(",prompt,,\n0,a,,\n1,b,,x\n")
    assert load(tmp_path / "index.csv").understanding.sentences == said
