"""Rows that share an id: problems of these rows, unless one of them says what was said under it before."""

from collections.abc import Sequence

import pytest

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.earlier import NothingEarlier
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline_tests.manifest.conftest import Rows, WriteCsv, load


class Read(NothingEarlier):
    """An earlier reading."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def versions(self, clip_id: str) -> Sequence[Clip]:
        return [clip for clip in self._snapshot.clips if clip.clip_id == clip_id]

    def was_invalid(self, clip_id: str, row_hash: str) -> bool:
        return any((row.clip_id, row.row_hash) == (clip_id, row_hash) for row in self._snapshot.invalid)


def made(snapshot: Snapshot) -> dict[str, str]:
    return {clip.clip_id: clip.prompt for clip in snapshot.clips}


def said(row: InvalidRow) -> str:
    return f"{row.place}: {row.problems[-1].message.partition(';')[0]}"


def rows(*cells: tuple[str, str, str]) -> Rows:
    return [{"clip_id": clip_id, "prompt": prompt, "takes": takes} for clip_id, prompt, takes in cells]


@pytest.mark.parametrize(
    ("given", "expected", "problems"),
    [
        (
            rows(("fox", "a", ""), ("owl", "b", ""), ("Fox", "c", "")),
            {"owl": "b"},
            ['row 2: "fox" is also the id of row 4', 'row 4: "Fox" is also the id of row 2'],
        ),
        (
            rows(("fox", "a", "2"), ("fox-t2", "b", "")),
            {},
            ['row 2: "fox-t2" is also the id of row 3', 'row 3: "fox-t2" is also the id of row 2'],
        ),
        (
            rows(("x", "a", ""), ("x", "b", ""), ("x", "c", "")),
            {},
            [
                'row 2: "x" is also the id of row 3',
                'row 3: "x" is also the id of row 2',
                'row 4: "x" is also the id of row 2',
            ],
        ),
    ],
)
def test_a_shared_id_is_a_problem_of_its_rows_and_the_others_go_on(
    manifest: WriteCsv, given: Rows, expected: dict[str, str], problems: list[str]
) -> None:
    snapshot = load(manifest(*given))
    assert made(snapshot) == expected
    assert [said(row) for row in snapshot.invalid] == problems
    assert all(row.clip_id is None and row.shares_its_id for row in snapshot.invalid)
    assert all("takes=2" in problem.allowed for problem in snapshot.problems)


def test_rows_that_ask_for_the_same_clip_say_so(manifest: WriteCsv) -> None:
    snapshot = load(manifest({"prompt": "a"}, {"prompt": "a", "duration": "4"}))
    assert not snapshot.clips
    assert "row 3 as well, which asks for the same clip" in snapshot.problems[0].message


def test_invalid_rows_count_and_keep_their_own_problems(manifest: WriteCsv) -> None:
    snapshot = load(
        manifest(
            {"clip_id": "x", "prompt": "a", "duration": "5"}, {"clip_id": "x", "prompt": "b", "duration": ""}
        )
    )
    assert [problem.column for problem in snapshot.problems] == ["clip_id", "duration", "clip_id"]


def test_everything_wrong_with_a_row_is_said_at_once(manifest: WriteCsv) -> None:
    snapshot = load(
        manifest(
            {"clip_id": "my fox", "prompt": "a {colour} {breed} fox", "duration": "5", "model": "sora2"},
            {"clip_id": "My fox", "prompt": "", "size": "7x7", "takes": "none", "model": "sora-3"},
            {"clip_id": "owl", "prompt": "an owl", "duration": "8"},
        )
    )
    said = [[(each.column, each.fault) for each in row.problems] for row in snapshot.invalid]
    unsafe = ("clip_id", "is not safe as a file name")
    unknown = ("model", "is not a model of this provider")
    assert said[0] == [
        unsafe,
        ("clip_id", "is also the id of row 3"),
        ("prompt", "has {colour} in it, which names no column"),
        ("prompt", "has {breed} in it, which names no column"),
        ("duration", "is not a duration of any model"),
        unknown,
    ], "in the order of the file's columns"
    assert said[1] == [
        unsafe,
        ("clip_id", "is also the id of row 2"),
        ("prompt", "is blank"),
        unknown,
        ("size", "is not a size of any model"),
        ("takes", "is not a whole number"),
    ]
    assert made(snapshot) == {"owl": "an owl"}
    assert not any(row.shares_its_id for row in snapshot.invalid), "each can be mended by itself"


BEFORE = rows(("fox", "a", "2"), ("owl", "b", ""))


@pytest.mark.parametrize(
    ("now", "expected", "invalid"),
    [
        (
            rows(("fox", "a", "2"), ("owl", "b", ""), ("fox", "new", "")),
            {"fox": "a", "fox-t2": "a", "owl": "b"},
            ["row 4"],
        ),
        (
            rows(("fox", "new", ""), ("fox", "a", "2"), ("owl", "b", "")),
            {"fox": "a", "fox-t2": "a", "owl": "b"},
            ["row 2"],
        ),
        (
            rows(("fox", "a", "2"), ("fox-t2", "new", ""), ("owl", "b", "")),
            {"fox": "a", "fox-t2": "a", "owl": "b"},
            ["row 3"],
        ),
        (
            rows(("fox", "a", "2"), ("owl", "b", ""), ("owl", "b", "")),
            {"fox": "a", "fox-t2": "a", "owl": "b"},
            ["row 4"],
        ),
        (
            rows(("fox", "changed", "2"), ("owl", "b", ""), ("fox", "new", "")),
            {"owl": "b"},
            ["row 2", "row 4"],
        ),
        # The owl's row wants an id that a take of the fox had: it may have neither, nor does the fox lose its own.
        (
            rows(("fox", "a", "2"), ("owl", "b", ""), ("FOX-T2", "a", "")),
            {"fox": "a", "fox-t2": "a", "owl": "b"},
            ["row 4"],
        ),
    ],
)
def test_a_row_that_says_what_it_said_before_keeps_its_id(
    manifest: WriteCsv, now: Rows, expected: dict[str, str], invalid: list[str]
) -> None:
    earlier = Read(load(manifest(*BEFORE)))
    snapshot = load(manifest(*now), earlier=earlier)
    assert made(snapshot) == expected
    assert [row.place for row in snapshot.invalid] == invalid


def test_a_row_that_was_invalid_before_keeps_its_id(manifest: WriteCsv) -> None:
    """Somebody may have mended it apart from the manifest, and its clip be delivered."""
    bad = {"clip_id": "fox", "prompt": "a", "duration": "5"}
    earlier = Read(load(manifest(bad)))
    snapshot = load(manifest(bad, {"clip_id": "fox", "prompt": "b", "duration": "8"}), earlier=earlier)
    assert [(row.clip_id, [problem.column for problem in row.problems]) for row in snapshot.invalid] == [
        ("fox", ["duration"]),
        (None, ["clip_id"]),
    ]
    assert "which had it before" in snapshot.problems[1].message
