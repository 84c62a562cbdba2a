"""Publishing a stretch at a time: in bounded memory, whole whatever happens, and in the manifest's order."""

import csv
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.delivered_production import NAME, fill
from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Ledger, surveys
from sora_pipeline.ledger.productions import Productions
from sora_pipeline.ledger.surveys import Moment
from sora_pipeline.manifest import rows_by_id
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.surveys import surveying
from sora_pipeline.settings import Settings
from sora_pipeline.store import ABANDONED_S, OutputStore
from sora_pipeline_tests.conftest import Producer, rows_of, settings_of
from sora_pipeline_tests.production.gallery.decoding import rows_in

SETTINGS = Settings(provider="gptproto", api_key="none")
FILES = ("metadata.parquet", "manifest.csv", "failed.csv", "gallery.html")


@pytest.fixture(autouse=True)
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveys, "STRETCH", 50)
    monkeypatch.setattr(rows_by_id, "FILE_ROWS", 100)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with 1,100 rows, two of which cannot be made."""
    url = f"sqlite:///{tmp_path / 'filled.db'}"
    fill(url, tmp_path / "out", 1_100)
    ledger = Ledger(url)
    yield ledger
    ledger.close()


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def test_all_files_have_every_row_once_each_in_its_order(filled: Ledger, tmp_path: Path) -> None:
    published = publish(filled, NAME, SETTINGS, "run")
    assert published is not None
    table = pq.read_table(tmp_path / "out" / "metadata.parquet")
    ids: list[Any] = table.column("clip_id").to_pylist()
    assert (len(ids), ids) == (1_100, sorted(set(ids)))
    assert Counter(table.column("status").to_pylist()) == published.counts
    assert [row["clip_id"] for row in rows_of_csv(tmp_path / "out" / "manifest.csv")] == ids
    assert [row["row"] for row in rows_in(tmp_path / "out", "lists")] == list(range(1, 1_101))
    numbers = dict(zip(ids, table.column("row_number").to_pylist(), strict=True))
    failed = [numbers[row["clip_id"]] for row in rows_of_csv(tmp_path / "out" / "failed.csv")]
    assert failed == sorted(failed)
    assert {18, 1_018} <= set(failed), "rows that cannot be made, far apart"
    assert len(failed) == published.counts["failed"] + published.counts["invalid"]


def test_memory_does_not_grow_with_the_clips(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        folder = tmp_path / str(rows)
        folder.mkdir()
        fill(f"sqlite:///{folder / 'ledger.db'}", folder / "out", rows)
        ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        tracemalloc.start()
        try:
            assert publish(ledger, NAME, SETTINGS, "run")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            ledger.close()

    peak(60)  # what is imported and compiled once
    assert peak(6_000) < 1.3 * peak(2_000)


@pytest.mark.parametrize("lost_at", range(1, 5))
def test_run_that_loses_its_claim_leaves_every_file_whole(
    ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch, lost_at: int
) -> None:
    made = production(rows_of(a="a fox", b="an owl"))
    folder = Path(made.output_uri)
    assert publish(ledger, made.production_id, settings_of(), "first")
    before = contents(folder)
    production(rows_of(a="a fox", b="a red owl", c="a bear"))
    real, put = OutputStore.replace_file, list[str]()

    def lose(store: OutputStore, local: Path, relative: str) -> None:
        put.append(relative)
        real(store, local, relative)

    def claim(*arguments: Any) -> bool:
        return len(put) < lost_at - 1

    with monkeypatch.context() as patched:
        patched.setattr(OutputStore, "replace_file", lose)
        patched.setattr(Productions, "claim_publish", claim)
        assert publish(ledger, made.production_id, settings_of(), "loses") is None
    between = contents(folder)
    assert publish(ledger, made.production_id, settings_of(), "next")
    after = contents(folder)
    assert len(put) == lost_at - 1
    for name in FILES:
        assert between[name] == (after if name in put else before)[name], name
    assert list((folder / ".staging").iterdir()) == []


def test_killed_publisher_leaves_nothing_for_ever(
    ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os
    import time

    made = production(rows_of(a="a fox"))
    staging = OutputStore(made.output_uri).staging_dir()
    left = staging / "0123.part"
    left.write_bytes(b"half a table")
    long_ago = time.time() - 2 * ABANDONED_S
    os.utime(left, (long_ago, long_ago))
    assert publish(ledger, made.production_id, settings_of(), "next")
    assert list(staging.iterdir()) == []


def test_two_productions_with_the_same_ids_are_told_apart(ledger: Ledger, production: Producer) -> None:
    monday = production(rows_of(a="monday's fox", b="an owl"), file="monday.csv")
    tuesday = production(rows_of(b="an owl", a="tuesday's fox"), file="tuesday.csv", name="tuesday")
    for made, prompts in ((monday, ["monday's fox", "an owl"]), (tuesday, ["tuesday's fox", "an owl"])):
        publish(ledger, made.production_id, settings_of(), "run")
        table = pq.read_table(f"{made.output_uri}/metadata.parquet")
        assert table.column("clip_id").to_pylist() == ["a", "b"]
        assert table.column("prompt").to_pylist() == prompts


def test_row_that_was_mended_stands_once(ledger: Ledger, production: Producer) -> None:
    rows = [
        *rows_of(**{f"c{n}": f"clip {n}" for n in range(120)}),
        {"clip_id": "bad", "prompt": "a", "size": "1x1"},
    ]
    rows.insert(10, {"clip_id": "worse", "prompt": "b", "size": "1x1"})
    made = production([{"size": "", **row} for row in rows])
    publish(ledger, made.production_id, settings_of(), "run")
    folder = Path(made.output_uri)
    failed = rows_of_csv(folder / "failed.csv")
    assert [row["clip_id"] for row in failed] == ["worse", "bad"]
    production([{**row, "size": "720x1280", "note": "=mended"} for row in failed[:1]], file="mended.csv")
    publish(ledger, made.production_id, settings_of(), "run")
    table = pq.read_table(folder / "metadata.parquet")
    statuses = dict(zip(table.column("clip_id").to_pylist(), table.column("status").to_pylist(), strict=True))
    assert (len(statuses), statuses["worse"], statuses["bad"]) == (122, "pending", "invalid")
    assert [row["clip_id"] for row in rows_of_csv(folder / "failed.csv")] == ["bad"]
    assert (
        dict(zip(table.column("clip_id").to_pylist(), table.column("note").to_pylist(), strict=True))["worse"]
        == "=mended"
    )


def test_attempts_of_a_clip_stay_together_across_stretches(
    filled: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    production = filled.productions.get(NAME)

    def seen() -> list[tuple[str, int, float | None]]:
        with surveying(filled, production, SETTINGS) as survey:
            clips = chain.from_iterable(survey.clips())
            return [(outcome.clip_id, outcome.attempts, outcome.cost_usd) for _, outcome in clips]

    monkeypatch.setattr(surveys, "STRETCH", 3)
    bit_by_bit = seen()
    monkeypatch.setattr(surveys, "STRETCH", 5_000)
    assert bit_by_bit == seen()
    assert {attempts for _, attempts, _ in bit_by_bit} == {1, 2}


def test_bad_rows_stand_where_the_manifest_has_them(filled: Ledger) -> None:
    with surveying(filled, filled.productions.get(NAME), SETTINGS) as survey:
        rows = list(chain.from_iterable(survey.rows()))
    assert [row[0].row_number for row in rows] == list(range(1, 1_101))
    assert [n for n, row in enumerate(rows, 1) if isinstance(row[0], InvalidRow)] == [18, 1_018]
    assert sum(isinstance(row[0], Clip) for row in rows) == 1_098


def test_only_videos_that_lie_elsewhere_are_brought_along(filled: Ledger, tmp_path: Path) -> None:
    with filled.surveys.at_one_moment(NAME) as moment:
        assert isinstance(moment, Moment)
        assert list(moment.delivered_elsewhere(str(tmp_path / "out"))) == []
        assert len(list(moment.delivered_elsewhere("/another"))) == 1_087
