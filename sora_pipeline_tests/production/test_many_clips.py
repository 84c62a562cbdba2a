"""Productions of more clips than are held at a time are taken in whole, in the manifest's order, and asked about in stretches."""

import gc
import tracemalloc
from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline import streams
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.estimates import Estimate
from sora_pipeline.production.intake import newest_snapshot
from sora_pipeline.streams import STRETCH
from sora_pipeline_tests.conftest import Producer, Rows, write_manifest

FEW, MANY = 600, 4_000
SHORT_STRETCH = 200
MOST_GROWTH = 1.25


def many_rows(count: int) -> Rows:
    return [{"clip_id": f"clip-{n}", "prompt": f"a cat, number {n}", "duration": "8"} for n in range(count)]


def test_clips_of_all_stretches_are_wanted_in_the_order_of_the_manifest(
    production: Producer, ledger: Ledger, tmp_path: Path
) -> None:
    rows = many_rows(2 * STRETCH + 5)
    rows[STRETCH + 1]["duration"] = "5"
    made = production(rows, name="monday")
    expected = [row["clip_id"] for row in rows if row["duration"] == "8"]
    assert [each.clip_id for each in ledger.clips.of_production("monday")] == expected
    snapshot = newest_snapshot(made)
    assert [each.clip_id for each in snapshot.clips] == expected
    assert [row.clip_id for row in snapshot.invalid] == [f"clip-{STRETCH + 1}"]
    assert (made.snapshot_sha256, len(snapshot.problems)) == (snapshot.snapshot_sha256, 1)

    fewer = [*rows[:3], *reversed(rows[STRETCH:])]
    production.read(write_manifest(tmp_path / "prompts.csv", fewer), name="monday")
    again = [row["clip_id"] for row in fewer if row["duration"] == "8"]
    assert [each.clip_id for each in ledger.clips.of_production("monday")] == again


def test_a_row_that_was_mended_stands_in_its_place_beyond_the_first_stretch(
    production: Producer, ledger: Ledger, tmp_path: Path
) -> None:
    rows = many_rows(STRETCH + 50)
    rows[STRETCH + 20]["duration"] = "5"
    production(rows, name="monday")
    mended = [
        {"production": "monday", "error_message": "", **rows[STRETCH + 20], "duration": "12"},
        {"production": "monday", "error_message": "", **rows[STRETCH + 30], "prompt": "a dog"},
    ]
    production.read(write_manifest(tmp_path / "failed.csv", mended))
    production.read(tmp_path / "prompts.csv", name="monday")
    wanted = ledger.clips.of_production("monday")
    assert [each.clip_id for each in wanted] == [row["clip_id"] for row in rows]
    assert (wanted[STRETCH + 20].duration, wanted[STRETCH + 20].row_number) == (12, STRETCH + 21)
    assert (wanted[STRETCH + 30].prompt, wanted[STRETCH + 31].prompt) == (
        "a dog",
        f"a cat, number {STRETCH + 31}",
    )


def peak_of(production: Producer, rows: int) -> int:
    path = write_manifest(production.folder / f"rows-{rows}.csv", many_rows(rows))
    gc.collect()
    tracemalloc.start()
    try:
        production.read(path, name=f"rows-{rows}")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_clips(production: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STRETCH", SHORT_STRETCH)
    # An instance in memory keeps what it is given.
    monkeypatch.setattr(production.instance, "add_dynamic_partitions", lambda *_: None)
    peak_of(production, 10)  # what is imported and remembered once counts for neither
    few = peak_of(production, FEW)
    assert peak_of(production, MANY) < MOST_GROWTH * few


def test_clips_fit_as_long_as_something_is_left_for_them() -> None:
    costs = Estimate(Decimal(9), (Decimal(1), Decimal(4)), (0, 1, 0, 1, 0))
    assert (costs.to_pay_usd, costs.clips_to_pay) == (Decimal(11), 5)
    fitting = [costs.fitting(left) for left in (None, Decimal(0), Decimal(2), Decimal(3), Decimal(7))]
    assert fitting == [5, 0, 2, 3, 4]
    assert costs.fitting(Decimal(7), Decimal(2), None) == 2
