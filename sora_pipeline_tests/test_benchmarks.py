"""The benchmarks still run: the smallest task that each takes, and its quickest contender."""

import json
from pathlib import Path

import pytest

from benchmarks import ledger_size, looks, makespan, verification


def test_the_script_delivers_and_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handlers are those of a process of its own
    figures = tmp_path / "figures.json"
    small = ["--only", "script", "--clips", "1", "--render", "0", "--timeout", "60"]
    assert makespan.main([*small, "--json", str(figures)]) == 0
    (result,) = json.loads(figures.read_text())["results"]
    assert (result["delivered"], result["accepted"], result["duplicates"]) == (1, 1, 0)
    assert result["makespan_s"] > 0
    assert result["usage"]["cpu_s"] > 0


def test_a_small_ledger_is_filled_and_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert ledger_size.main(["--attempts", "2000", "--json", str(figures)]) == 0
    timings = json.loads(figures.read_text())["milliseconds"]["SQLite"]
    assert all(taken > 0 for taken in timings.values()), timings


def test_verification_is_measured_and_finds_what_other_ways_miss(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    small = ["--durations", "1", "--rounds", "1", "--damaged", "20"]
    assert verification.main([*small, "--json", str(figures)]) == 0
    measured = json.loads(figures.read_text())
    assert all(cost["cpu_ms"] > 0 for cost in measured["milliseconds"]["sandbox 720p 1 s"].values())
    usual = measured["damaged"][verification.IN_USE]
    assert usual["found"] > 15
    assert (usual["missed"], usual["changed"]) == (0, 0)
    assert all(figure["found"] <= usual["found"] for figure in measured["damaged"].values())


def test_looks_at_a_small_production_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert looks.main(["--clips", "200", "--json", str(figures)]) == 0
    timings = json.loads(figures.read_text())["200"]
    assert all(wall > 0 for _, wall in timings.values()), timings
