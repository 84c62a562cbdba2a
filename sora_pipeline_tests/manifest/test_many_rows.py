"""A manifest of more rows than are held at a time: nothing is lost, and memory does not grow with it."""

import gc
import hashlib
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sora_pipeline import streams
from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest import parquet_format
from sora_pipeline.manifest.ids import IdHashes, is_any_twice
from sora_pipeline.manifest.images import ImageFinding
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.reading import read_manifest
from sora_pipeline.manifest.snapshot_parquet import read_snapshot_file, write_snapshot
from sora_pipeline.spool import Spool
from sora_pipeline.streams import STRETCH
from sora_pipeline_tests.manifest.conftest import load

FEW, MANY = 600, 4_000
"""Rows: both are more than a stretch, so that what is held for a stretch does not tell them apart."""
SHORT_STRETCH = 200
MOST_GROWTH = 1.25


def csv_of(path: Path, lines: Iterator[str], header: str = "clip_id,prompt,duration,campaign") -> Path:
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def large_csv(path: Path, rows: int) -> Path:
    return csv_of(path, (f"clip-{n},a cat that is number {n},8,spring {n % 7}" for n in range(rows)))


def large_parquet(path: Path, rows: int) -> Path:
    columns = {
        "clip_id": [f"clip-{n}" for n in range(rows)],
        "prompt": [f"a cat that is number {n}" for n in range(rows)],
        "duration": [8] * rows,
        "campaign": [n % 7 for n in range(rows)],
    }
    pq.write_table(pa.table(columns), path, row_group_size=rows)
    return path


def gone_through(path: Path) -> None:
    """Read, checked, written as a snapshot and read from there."""
    snapshot = load(path)
    spool = Spool()
    write_snapshot(snapshot, spool.writer())  # type: ignore[arg-type]
    again = read_snapshot_file(spool)
    assert sum(clip.row_number for clip in again.clips) == sum(range(1, len(again.clips) + 1))


def peak_of(path: Path) -> int:
    """The most that Python objects took at a time."""
    gc.collect()
    tracemalloc.start()
    try:
        gone_through(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", [large_csv, large_parquet])
def test_memory_does_not_grow_with_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, int], Path]
) -> None:
    monkeypatch.setattr(streams, "STRETCH", SHORT_STRETCH)
    monkeypatch.setattr(parquet_format, "_BATCH_ROWS", SHORT_STRETCH)
    ending = write.__name__.removeprefix("large_")
    few, many = write(tmp_path / f"few.{ending}", FEW), write(tmp_path / f"many.{ending}", MANY)
    gone_through(few)  # what is imported and remembered once counts for neither
    assert peak_of(many) < MOST_GROWTH * peak_of(few)


def test_the_content_hash_is_that_of_all_rows_at_once(tmp_path: Path) -> None:
    lines = (f"clip-{n},{'a cat' if n % 1000 else ''},8,spring" for n in range(2 * STRETCH))
    snapshot = load(csv_of(tmp_path / "m.csv", lines))
    rows: list[list[object]] = [["campaign"]]
    rows += [
        [
            clip.clip_id,
            clip.row_number,
            clip.prompt,
            clip.image,
            clip.image_sha256,
            clip.model,
            clip.simulated,
            clip.duration,
            str(clip.size),
            clip.take,
            clip.carried,
        ]
        for clip in snapshot.clips
    ]
    rows += [
        [bad.row_number, bad.clip_id, bad.values, [problem.message for problem in bad.problems]]
        for bad in snapshot.invalid
    ]
    written = json.dumps(rows, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert snapshot.snapshot_sha256 == hashlib.sha256(written.encode()).hexdigest()


def fingerprint_by_json(clip: Clip) -> str:
    maker = "simulated" if clip.simulated else "real"
    decisive = [clip.prompt, clip.image_sha256, clip.duration, str(clip.size), clip.model, maker]
    return hashlib.sha256(json.dumps(decisive, ensure_ascii=False).encode()).hexdigest()


@pytest.mark.parametrize("prompt", ["a cat", 'says "miau"\\', "\u2028\x00\x1f\x7f é 猫 🐈", "\n\t\b\f\r/"])
@pytest.mark.parametrize("sha256", [None, "", "ab" * 32])
def test_a_fingerprint_is_that_of_json(prompt: str, sha256: str | None) -> None:
    clip = Clip("a", 1, prompt, None, sha256, "sora-2", False, 4, Size(720, 1280))
    assert clip.fingerprint == fingerprint_by_json(clip)


def test_rows_keep_their_order_and_number_over_stretches_and_blank_rows(tmp_path: Path) -> None:
    rows = 2 * STRETCH + 100
    lines = (f"clip-{n},a cat,8,spring" if n % 100 else ",,," for n in range(rows))
    path = csv_of(tmp_path / "m.csv", lines)
    expected = [(n + 1, f"clip-{n}") for n in range(rows) if n % 100]
    assert [(clip.row_number, clip.clip_id) for clip in load(path).clips] == expected
    file = read_manifest(str(path))
    assert [row.number for row in file.rows] == [row.number for row in file.rows] == [n for n, _ in expected]
    assert len(file.rows) == len(expected)


def test_bad_rows_beyond_the_first_stretch_are_found(tmp_path: Path) -> None:
    rows = 2 * STRETCH
    bad = {STRETCH + 7, 2 * STRETCH - 1}
    lines = (f"clip-{n},a cat,{5 if n in bad else 8},spring" for n in range(rows))
    snapshot = load(csv_of(tmp_path / "m.csv", lines))
    assert [row.row_number for row in snapshot.invalid] == [n + 1 for n in sorted(bad)]
    assert [problem.column for problem in snapshot.problems] == ["duration", "duration"]
    assert len(snapshot.problems[:1]) == 1
    assert len(snapshot.clips) == rows - 2
    spool = Spool()
    write_snapshot(snapshot, spool.writer())  # type: ignore[arg-type]
    assert read_snapshot_file(spool) == snapshot


def test_a_file_that_is_damaged_far_below_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = large_csv(tmp_path / "m.csv", 2 * STRETCH)
    content = path.read_bytes()
    line = content.count(b"\n") + 1
    path.write_bytes(content + b"clip-x,a \xff cat,8,spring\n")
    with pytest.raises(
        ManifestError, match=f"line {line} is not UTF-8 .byte 0xff at offset {len(content) + 9}"
    ):
        read_manifest(str(path))
    path.write_bytes(content + b'clip-x,"a cat,8,spring\n')
    with pytest.raises(ManifestError, match=f"the row that begins on line {line} cannot be read"):
        read_manifest(str(path))


@pytest.mark.parametrize("other", ["clip-3", "CLIP-3"])
def test_an_id_is_taken_however_far_above(tmp_path: Path, other: str) -> None:
    last = STRETCH + 500
    lines = (f"{other if n == last else f'clip-{n}'},a cat,8,spring" for n in range(last + 10))
    snapshot = load(csv_of(tmp_path / "m.csv", lines))
    assert [problem.sentence("m.csv").partition(";")[0] for problem in snapshot.problems] == [
        f'm.csv, row 5 (clip clip-3), column clip_id: "clip-3" is also the id of row {last + 2}',
        f'm.csv, row {last + 2} (clip {other}), column clip_id: "{other}" is also the id of row 5',
    ]
    assert len(snapshot.clips) == last + 8


def test_a_file_that_holds_everything_twice_is_all_problems(tmp_path: Path) -> None:
    rows = STRETCH + 1
    snapshot = load(csv_of(tmp_path / "m.csv", (f"clip-{n % rows},a cat,8,spring" for n in range(2 * rows))))
    assert (len(snapshot.clips), len(snapshot.invalid)) == (0, 2 * rows)


def test_one_id_in_all_rows_takes_no_time(tmp_path: Path) -> None:
    snapshot = load(csv_of(tmp_path / "m.csv", (f"same,a cat {n},8,spring" for n in range(20_000))))
    assert (len(snapshot.clips), len(snapshot.invalid)) == (0, 20_000)


def test_two_ids_with_one_hash_are_two_ids() -> None:
    hashes = {hash("a"), hash("b")}
    assert not is_any_twice(["a", "b", "c", "c"], hashes)
    assert is_any_twice(["a", "b", "A"], hashes)


def test_repeated_hashes_are_found_wherever_they_stand() -> None:
    hashes = IdHashes()
    hashes.add(f"clip-{n}" for n in range(1000))
    assert hashes.repeated() == frozenset()
    hashes.add(["CLIP-5", "clip-999", "new", "CLIP-5"])
    assert hashes.repeated() == {hash("clip-5"), hash("clip-999")}


def test_images_of_all_stretches_are_asked_for_once(tmp_path: Path) -> None:
    asked: list[str] = []

    def check(image: str, size: Size) -> ImageFinding:
        asked.append(str(image))
        return ImageFinding(problem="is no picture") if "bad" in image else ImageFinding(sha256="0" * 64)

    rows = STRETCH + 100
    images = ["a.png", "b.png", "", "bad.png"]
    lines = (f"clip-{n},a cat,{images[n % 4] if n > STRETCH else ''}" for n in range(rows))
    path = csv_of(tmp_path / "m.csv", lines, "clip_id,prompt,image")
    snapshot = load(path, image_check=check)
    assert sorted(asked) == [str(tmp_path / name) for name in ("a.png", "b.png", "bad.png")]
    assert (len(snapshot.clips), len(snapshot.invalid)) == (rows - 25, 25)
    assert [clip.row_number for clip in snapshot.clips] == [
        n + 1 for n in range(rows) if not (n > STRETCH and n % 4 == 3)
    ]


def test_takes_that_repeat_very_long_rows_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = csv_of(
        tmp_path / "m.csv", (f"a cat,100,{n}{'x' * 120_000}" for n in range(100)), "prompt,takes,note"
    )
    with pytest.raises(ManifestError, match=r"takes included, comes to 1,\d\d\d MiB or more; up to 1024 MiB"):
        load(path)
