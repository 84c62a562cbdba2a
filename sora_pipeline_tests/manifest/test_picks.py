"""Files of picks: read as the gallery writes them and as spreadsheets save them, or refused in a sentence for each row."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.manifest.formulas import harmless, without_apostrophe
from sora_pipeline.manifest.picks import PICK_COLUMNS, Mark, Pick, PicksError, read_picks
from sora_pipeline.manifest.problems import ManifestError

Row = dict[str, Any]
BAD: Row = {
    "production": "spring",
    "clip_id": "001",
    "pick": "bad",
    "note": "six fingers",
    "file_name": "videos/001/001-1-ab.mp4",
}


def written(folder: Path, *rows: Row, columns: tuple[str, ...] = PICK_COLUMNS, **options: Any) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore", **options)
    writer.writeheader()
    writer.writerows(rows)
    path = folder / "picks.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode())
    return str(path)


def refused(*arguments: Any, **options: Any) -> str:
    with pytest.raises(PicksError) as caught:
        read_picks(written(*arguments, **options))
    return str(caught.value)


def test_picks_are_read_as_the_gallery_writes_them(tmp_path: Path) -> None:
    rows = [
        BAD,
        {**BAD, "clip_id": "002", "pick": "good", "note": "", "file_name": "videos/002/002-1-ab.mp4"},
        {**BAD, "production": "autumn", "pick": "", "note": "'=looks like a formula"},
        {**BAD, "clip_id": "003", "file_name": ""},
    ]
    assert read_picks(written(tmp_path, *rows)) == [
        Pick("spring", "001", Mark.BAD, "six fingers", "videos/001/001-1-ab.mp4", 1),
        Pick("spring", "002", Mark.GOOD, "", "videos/002/002-1-ab.mp4", 2),
        Pick("autumn", "001", Mark.NONE, "=looks like a formula", "videos/001/001-1-ab.mp4", 3),
        Pick("spring", "003", Mark.BAD, "six fingers", None, 4),
    ]


def test_what_a_person_wrote_loosely_is_understood(tmp_path: Path) -> None:
    rows = [{**BAD, "pick": " Bad "}, {**BAD, "clip_id": "002", "pick": "", "note": " ", "file_name": ""}]
    (pick,) = read_picks(written(tmp_path, *rows))
    assert pick.mark is Mark.BAD
    capitals = {name.title(): value for name, value in BAD.items()}
    (pick,) = read_picks(written(tmp_path, capitals, columns=tuple(capitals)))
    assert pick.clip_id == "001"


def test_semicolons_are_read_too(tmp_path: Path) -> None:
    (pick,) = read_picks(written(tmp_path, BAD, delimiter=";"))
    assert pick.clip_id == "001"


def test_workbooks_are_read_too(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(list(PICK_COLUMNS))
    book.active.append(list(BAD.values()))
    book.save(tmp_path / "picks.xlsx")
    (pick,) = read_picks(str(tmp_path / "picks.xlsx"))
    assert (pick.production, pick.clip_id, pick.mark) == ("spring", "001", Mark.BAD)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pick": "badd"}, ["row 2, column pick", '"badd" is no pick', "good, bad"]),
        ({"production": ""}, ["row 2, column production", "is missing"]),
        ({"clip_id": "../../etc"}, ["row 2, column clip_id", '"../../etc" is no clip id', "A-Z"]),
        ({"clip_id": ""}, ["row 2, column clip_id", "the value is no clip id"]),
        ({"clip_id": "1"}, ["row 2, column file_name", "is no video of the clip 1", "1 of 001", "videos/1"]),
        ({"file_name": "metadata.parquet"}, ["row 2, column file_name", '"metadata.parquet"', "videos/001"]),
    ],
)
def test_bad_cells_are_named_with_what_is_allowed(tmp_path: Path, change: Row, words: list[str]) -> None:
    sentence = refused(tmp_path, {**BAD, **change})
    assert sentence.count("\n") == 0
    for word in (str(tmp_path / "picks.csv"), *words):
        assert word in sentence


def test_every_bad_row_is_named_and_nothing_is_taken(tmp_path: Path) -> None:
    sentence = refused(
        tmp_path, *({**BAD, "clip_id": f"c{n}", "pick": "x", "file_name": ""} for n in range(14))
    )
    assert len(sentence.splitlines()) == 11
    assert sentence.endswith("and 4 more")


def test_two_picks_of_one_clip_are_refused_and_of_two_productions_are_two(tmp_path: Path) -> None:
    assert len(read_picks(written(tmp_path, BAD, {**BAD, "production": "autumn"}))) == 2
    assert "row 3, column clip_id" in refused(tmp_path, BAD, {**BAD, "pick": "good"})


def test_other_files_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    sentence = refused(tmp_path, {"prompt": "a fox"}, columns=("prompt",))
    for word in ("no column production", "no column clip_id", "no column pick", "Download picks.csv"):
        assert word in sentence
    with pytest.raises(ManifestError, match="no such file"):
        read_picks(str(tmp_path / "nowhere.csv"))


@given(st.text(max_size=30))
def test_no_text_is_changed_by_being_kept_from_being_a_formula(text: str) -> None:
    assert without_apostrophe(harmless(text)) in (text, text[1:])
    if not text.startswith("'"):
        assert without_apostrophe(harmless(text)) == text
