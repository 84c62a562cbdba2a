"""What a publish writes, in which order, and what it leaves alone."""

import json
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sora_pipeline.manifest.output import OutputRow
from sora_pipeline.production.gallery import GALLERY, gallery_page
from sora_pipeline.production.gallery.files import FOLDER, GRACE, RETIRED
from sora_pipeline.production.gallery.page import LISTED_ROWS
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.uris import Uri
from sora_pipeline_tests.production.gallery.decoding import data_of, rows_in, set_of
from sora_pipeline_tests.production.gallery.example import (
    CARRIED,
    NOON,
    clip_row,
    invalid_row,
    production_of,
    publish_gallery,
    rows_of,
)


def files_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / FOLDER).iterdir()}


def named_in(folder: Path) -> set[str]:
    """Every file that the page needs: its set, and what that names."""
    page = (folder / GALLERY).read_text()
    named = page.split('data-set="')[1].split('"')[0]
    about = data_of(folder / named)
    return {named, *(name for name, *_ in (*about["lists"], *about["details"]))}


def with_one_failed(count: int, failed: int) -> Iterator[OutputRow]:
    for number in range(count):
        yield clip_row(number, ClipStatus.FAILED if number == failed else ClipStatus.DELIVERED)


def test_page_is_as_long_for_three_clips_as_for_five_thousand(tmp_path: Path) -> None:
    few, many = (
        publish_gallery(tmp_path / "few", rows_of(3)),
        publish_gallery(tmp_path / "many", rows_of(5000)),
    )
    assert len(few) == len(many) < 60_000


def test_page_names_every_row_once_and_in_order(tmp_path: Path) -> None:
    publish_gallery(tmp_path, rows_of(2500))
    about = set_of(tmp_path)
    assert [count for _, count, _ in about["lists"]] == [LISTED_ROWS, LISTED_ROWS, 500]
    assert [row["row"] for row in rows_in(tmp_path, "lists")] == list(range(1, 2501))
    assert len(rows_in(tmp_path, "details")) == 2500


def test_set_counts_what_the_page_says_of_all_rows(tmp_path: Path) -> None:
    publish_gallery(
        tmp_path, [*(clip_row(n) for n in range(1, 5)), clip_row(5, ClipStatus.FAILED), invalid_row(6)]
    )
    about = set_of(tmp_path)
    assert about["statuses"] == {"delivered": 4, "failed": 1, "invalid": 1}
    assert (about["total"], about["cost"], about["lists"][0][2]) == (6, 20.0, about["statuses"])
    assert about["choices"][0] == [["autumn", 1], ["spring sale", 2], ["winter", 3]]


def test_columns_of_too_many_values_are_not_chosen_from(tmp_path: Path) -> None:
    publish_gallery(tmp_path, (clip_row(n) for n in range(60)))
    campaign, shot, _ = set_of(tmp_path)["choices"]
    assert len(campaign) == 3
    assert shot is None


def test_gallery_of_nothing_is_a_page_too(tmp_path: Path) -> None:
    publish_gallery(tmp_path, [])
    about = set_of(tmp_path)
    assert (about["total"], about["lists"], about["details"]) == (0, [], [])


def test_unchanged_production_writes_no_data_anew(tmp_path: Path) -> None:
    publish_gallery(tmp_path, rows_of(3000))
    before = files_in(tmp_path)
    publish_gallery(tmp_path, rows_of(3000))
    after = files_in(tmp_path)
    assert {name: after[name] for name in after if name != Path(RETIRED).name} == {
        name: before[name] for name in before if name != Path(RETIRED).name
    }


def test_one_changed_clip_writes_its_two_files_and_the_set(tmp_path: Path) -> None:
    publish_gallery(tmp_path, with_one_failed(3000, failed=10))
    before = files_in(tmp_path)
    publish_gallery(tmp_path, with_one_failed(3000, failed=11))
    new = sorted(name.split("-")[0] for name in files_in(tmp_path).keys() - before.keys())
    assert new == ["details", "list", "set"]


def test_file_that_somebody_deleted_is_written_again(tmp_path: Path) -> None:
    publish_gallery(tmp_path, rows_of(300))
    for path in (tmp_path / FOLDER).glob("list-*"):
        path.unlink()
    publish_gallery(tmp_path, rows_of(300))
    assert len(rows_in(tmp_path, "lists")) == 300


class Watched(OutputStore):
    """A store that looks after each change whether the page that is there finds all its files."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.looked = 0

    def replace_bytes(self, relative: str, content: bytes) -> None:
        super().replace_bytes(relative, content)
        self.look()

    def remove(self, relative: str) -> None:
        super().remove(relative)
        self.look()

    def look(self) -> None:
        folder = Path(self.uri)
        if (folder / GALLERY).exists():
            self.looked += 1
            missing = {name for name in named_in(folder) if not (folder / name).exists()}
            assert not missing, missing


def test_page_never_names_a_file_that_is_not_there(tmp_path: Path) -> None:
    store = Watched(str(tmp_path))
    for publish in range(6):
        rows = with_one_failed(2000, failed=publish * 300)
        page = gallery_page(store, production_of(tmp_path), rows, CARRIED, NOON + publish * GRACE)
        store.replace_bytes(GALLERY, page)
    assert store.looked > 20


def test_files_of_an_earlier_page_stay_for_an_hour(tmp_path: Path) -> None:
    publish_gallery(tmp_path, with_one_failed(300, failed=1))
    earlier = named_in(tmp_path)
    publish_gallery(tmp_path, with_one_failed(300, failed=2), now=NOON + timedelta(hours=5))
    publish_gallery(tmp_path, with_one_failed(300, failed=2), now=NOON + timedelta(hours=5, minutes=59))
    assert all((tmp_path / name).exists() for name in earlier)
    publish_gallery(tmp_path, with_one_failed(300, failed=2), now=NOON + timedelta(hours=6, minutes=1))
    assert not any((tmp_path / name).exists() for name in earlier - named_in(tmp_path))
    assert len(files_in(tmp_path)) == len(named_in(tmp_path)) + 1


def test_files_of_a_page_that_stays_are_kept_when_a_publisher_dies_before_the_next(tmp_path: Path) -> None:
    store = OutputStore(str(tmp_path))
    publish_gallery(tmp_path, with_one_failed(300, failed=1))
    shown = named_in(tmp_path)
    for hours in (1, 3, 5):  # everything is written but the page itself
        gallery_page(
            store, production_of(tmp_path), with_one_failed(300, failed=2), CARRIED, NOON + hours * GRACE
        )
        assert all((tmp_path / name).exists() for name in shown)


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    own = tmp_path / FOLDER / "list-of-mine.js"
    own.parent.mkdir()
    own.write_text("// mine")
    for hours in range(4):
        publish_gallery(tmp_path, with_one_failed(10, failed=hours), now=NOON + hours * 2 * GRACE)
    assert own.read_text() == "// mine"


@pytest.mark.parametrize("damaged", [b"", b"[]", b'{"set": 1}', b"\xff", b'{"set": "x", "retired": []}'])
def test_damaged_note_of_retired_files_does_no_harm(tmp_path: Path, damaged: bytes) -> None:
    publish_gallery(tmp_path, with_one_failed(10, failed=1))
    (tmp_path / RETIRED).write_bytes(damaged)
    publish_gallery(tmp_path, with_one_failed(10, failed=2), now=NOON + 9 * GRACE)
    assert all((tmp_path / name).exists() for name in named_in(tmp_path))


def test_page_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    (tmp_path / GALLERY).write_text("<!doctype html><title>as it used to be</title>")
    publish_gallery(tmp_path, rows_of(3))
    assert len(rows_in(tmp_path, "lists")) == 3


class Full(OutputStore):
    """A store that takes the first files and no others."""

    def __init__(self, uri: str, left: int) -> None:
        super().__init__(uri)
        self.left = left

    def replace_bytes(self, relative: str, content: bytes) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreError(f"Output {relative} could not be written: there is no space left.", "store_full")
        super().replace_bytes(relative, content)


@pytest.mark.parametrize("left", [0, 3, 14, 15, 16])
def test_store_that_is_full_leaves_the_page_as_it_was(tmp_path: Path, left: int) -> None:
    publish_gallery(tmp_path, with_one_failed(10, failed=1))
    page = (tmp_path / GALLERY).read_bytes()
    with pytest.raises(StoreError, match="no space left"):
        gallery_page(Full(str(tmp_path), left), production_of(tmp_path), rows_of(3000), CARRIED, NOON)
    assert (tmp_path / GALLERY).read_bytes() == page
    assert rows_in(tmp_path, "lists")[1]["status"] == "failed"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            publish_gallery(tmp_path / str(count), rows_of(count))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is imported and compiled once
    assert peak(6_000) < 1.5 * peak(2_000)


def test_rows_are_read_once(tmp_path: Path) -> None:
    rows = rows_of(10)
    publish_gallery(tmp_path, rows)
    assert next(rows, None) is None


def test_page_has_one_script_whatever_is_in_a_cell(tmp_path: Path) -> None:
    attack = "</script><script>alert(1)</script>"
    page = publish_gallery(
        tmp_path, [clip_row(1, prompt=attack)], manifest_uri=Uri(attack), production_id=attack
    ).decode()
    assert page.count("<script>") == page.count("</script>") == 1
    assert "alert(1)</" not in page


def test_retired_files_are_noted_for_the_page_that_retired_them(tmp_path: Path) -> None:
    publish_gallery(tmp_path, with_one_failed(10, failed=1))
    earlier = named_in(tmp_path)
    publish_gallery(tmp_path, with_one_failed(10, failed=2))
    noted = json.loads((tmp_path / RETIRED).read_bytes())
    assert noted["set"] in named_in(tmp_path)
    assert set(noted["retired"]) == earlier - named_in(tmp_path)
