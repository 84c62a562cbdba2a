from dataclasses import replace
from pathlib import Path

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.output import OutputRow
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.gallery.rows import MAX_CARRIED_CHARS, MAX_LISTED_CARRIED, MAX_LISTED_CHARS
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri
from sora_pipeline_tests.production.gallery.decoding import rows_in
from sora_pipeline_tests.production.gallery.example import (
    clip_row,
    invalid_row,
    publish_gallery,
)


def test_card_shows_what_the_outcome_says(tmp_path: Path) -> None:
    rows = [clip_row(0), clip_row(1, ClipStatus.FAILED), clip_row(2, ClipStatus.PENDING), invalid_row(3)]
    publish_gallery(tmp_path, rows)
    delivered, failed, pending, invalid = rows_in(tmp_path, "lists")
    assert (delivered["id"], delivered["status"], delivered["cost"], delivered["attempts"]) == (
        "clip-00000",
        "delivered",
        8.0,
        2,
    )
    assert delivered["carried"] == ["autumn", "0", "a, b"]
    assert (failed["kind"], failed["reason"]) == (
        "content_policy",
        "The provider refused the prompt: it names a person.",
    )
    assert (failed["video"], failed["poster"]) == (None, None)
    assert (pending["cost"], pending["attempts"], pending["kind"]) == (None, 0, "budget")
    assert (invalid["status"], invalid["row"], invalid["seconds"]) == ("invalid", 4, "5")
    assert "is not a duration of sora-2-pro" in invalid["reason"]


def test_what_a_delivered_clip_waited_for_once_is_no_reason_any_more(tmp_path: Path) -> None:
    publish_gallery(tmp_path, [clip_row(1, error_kind="policy", error_message="refused at first")])
    assert (rows_in(tmp_path, "lists")[0]["kind"], rows_in(tmp_path, "lists")[0]["reason"]) == (None, None)


def test_long_texts_are_cut_on_cards_and_whole_in_the_details(tmp_path: Path) -> None:
    prompt, reason, value = "fox " * 2000, "no " * 500, "x" * 500
    row = clip_row(0, ClipStatus.FAILED, prompt=prompt, error_message=reason, carried={"campaign": value})
    publish_gallery(tmp_path, [row, clip_row(1)])
    (cut, short), (whole, nothing) = rows_in(tmp_path, "lists"), rows_in(tmp_path, "details")
    assert (len(cut["prompt"]), len(cut["reason"])) == (MAX_LISTED_CHARS, MAX_LISTED_CHARS)
    assert cut["carried"][0] == "x" * MAX_CARRIED_CHARS
    assert whole["whole"] == [prompt, reason, [value, None, None]]
    assert (cut["cut"], short["cut"], nothing["whole"]) == (True, False, None)


def test_carried_columns_beyond_the_first_are_in_the_details(tmp_path: Path) -> None:
    names = tuple(f"column {number}" for number in range(MAX_LISTED_CARRIED + 3))
    row = clip_row(0, carried={names[-1]: "far off"})
    publish_gallery(tmp_path, [row], columns=names)
    assert rows_in(tmp_path, "lists")[0]["carried"] == [None] * MAX_LISTED_CARRIED
    assert rows_in(tmp_path, "details")[0]["whole"][2][-1] == "far off"


def test_files_of_unusual_names_are_named_whole(tmp_path: Path) -> None:
    usual: OutputRow = clip_row(0)
    assert isinstance(usual[0], Clip)
    assert isinstance(usual[1], ClipOutcome)
    moved = replace(usual[1], file_name="videos/a/b.mp4", poster_path=None)
    plain = replace(usual[1], poster_path=None)
    publish_gallery(tmp_path, [usual, (usual[0], moved), (usual[0], plain)])
    listed = [(row["video"], row["poster"]) for row in rows_in(tmp_path, "lists")]
    name = str(usual[1].file_name).removeprefix("videos/clip-00000/clip-00000-").removesuffix(".mp4")
    assert listed == [(name, True), ("videos/a/b.mp4", None), (name, None)]


def test_addresses_of_images_are_shown_without_their_secrets(tmp_path: Path) -> None:
    publish_gallery(tmp_path, [clip_row(0, image=Uri("https://host/a.png?signature=5ecret"))])
    written = b"".join(path.read_bytes() for path in (tmp_path / "gallery").iterdir())
    assert b"5ecret" not in written
    assert rows_in(tmp_path, "details")[0]["image"] == "https://host/a.png?***"
