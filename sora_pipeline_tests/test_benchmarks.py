"""The benchmark itself works: it is run for real, small, with its quickest contender."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def test_the_script_delivers_and_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    small = ["--only", "script", "--clips", "2", "--render", "0.2", "--timeout", "60"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.makespan", *small, "--json", str(figures)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (result,) = json.loads(figures.read_text())["results"]
    assert result["problem"] is None
    assert (result["delivered"], result["accepted"], result["duplicates"]) == (2, 2, 0)
    assert result["makespan_s"] > 0.2
    assert result["usage"]["cpu_s"] > 0.1
    assert result["usage"]["peak_memory_bytes"] > 10_000_000


def test_a_small_ledger_is_filled_and_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ledger_size", "--attempts", "20000", "--json", str(figures)],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    timings = json.loads(figures.read_text())["milliseconds"]["SQLite"]
    assert len(timings) == 12
    assert all(taken > 0 for taken in timings.values())
