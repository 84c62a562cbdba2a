"""Text that a spreadsheet would run: kept from it in every CSV that people open, and unchanged when that is read again."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sora_pipeline.cli.app import app
from sora_pipeline.manifest.csv_file import CsvFile
from sora_pipeline.manifest.csv_format import parse_csv
from sora_pipeline.manifest.formulas import is_formula, unescape
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.spool import Spool
from sora_pipeline.status import ClipStatus
from sora_pipeline_tests.conftest import Producer, keys
from sora_pipeline_tests.manifest.conftest import WriteCsv, load, write_rows
from sora_pipeline_tests.manifest.written import files_of

FORMULAS = [
    "=1+1",
    '=HYPERLINK("http://evil.example","click")',
    "=cmd|'/c calc'!A1",
    "@SUM(1,1)",
    "+1+1",
    "-1+1",
    "-2 degrees, snow",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20SUM(1)",
]
HARMLESS = ["-1.5", "+3", "-1e9", "'=1+1", "''@x", "a=b", "'tis a fox", "", "[=1]", "don't"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_runs_is_recognised(text: str) -> None:
    assert is_formula(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_numbers_and_ordinary_text_stay_as_they_are(text: str) -> None:
    assert not is_formula(text)


TEXTS = st.sampled_from(FORMULAS + HARMLESS) | st.text(
    st.sampled_from("=+-@'\t\r\n\uff1d\", 1ab[]"), max_size=6
)
NAMES = st.lists(st.sampled_from(["prompt", "=x", "'=x", "''=x", "+y", "'y", "project"]), unique=True)


@settings(max_examples=400, deadline=None)
@given(
    names=NAMES,
    rows=st.lists(st.lists(TEXTS, min_size=9, max_size=9), min_size=1, max_size=4),
)
@example(names=["=x", "'=x", "prompt"], rows=[["=1", "'=1", "-1", "", "", "", "", "", ""]])
def test_every_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], rows: list[list[str]]
) -> None:
    header = ["production", *names, "error_message"]
    records = [["p", *row[: len(names)], "e"] for row in rows]
    path = tmp_path_factory.mktemp("csv") / "failed.csv"
    with CsvFile(path, header) as file:
        for record in records:
            file.write([[cell] for cell in record])
    parsed = parse_csv("failed.csv", Spool.of(path.read_bytes()))
    assert not any(is_formula(cell) for row in parsed.rows for cell in row.cells)
    assert not any(is_formula(name) for name in parsed.names)
    table = unescape(parsed)
    assert [name for name in table.names if name != "escaped_columns"] == header
    assert [list(row.cells[: len(header)]) for row in table.rows] == records


def prompts(*texts: str) -> list[dict[str, Any]]:
    return [
        {"clip_id": f"c{n}", "prompt": text, "note": text, "=price": "-1.5"} for n, text in enumerate(texts)
    ]


@pytest.fixture
def manifest(tmp_path: Path) -> WriteCsv:
    """Write rows as CSV and return the path."""
    return lambda *rows, name="prompts.csv": write_rows(tmp_path / name, list(rows))


@pytest.fixture
def written(manifest: WriteCsv, tmp_path: Path) -> dict[str, Path]:
    """Both CSV files and the Parquet file of a manifest full of formulas, and the manifest."""
    path = manifest(
        *prompts(*FORMULAS, *filter(None, HARMLESS)), {"clip_id": "bad", "prompt": "=bad", "duration": "5"}
    )
    snapshot = load(path)
    outcomes = [
        ClipOutcome(clip_id=clip.clip_id, status=ClipStatus.FAILED, error_message="=EVIL()")
        for clip in snapshot.clips
    ]
    files = files_of(snapshot, outcomes, "prompts")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return {"prompts.csv": path, **{name: tmp_path / name for name in files}}


@pytest.mark.parametrize("name", ["failed.csv", "manifest.csv"])
def test_no_cell_of_our_csv_files_runs(written: dict[str, Path], name: str) -> None:
    with written[name].open(newline="", encoding="utf-8-sig") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert [cell for cell in cells if is_formula(cell)] == []
    assert "'=EVIL()" in cells
    assert "-1.5" in cells


def test_parquet_keeps_what_was_written(written: dict[str, Path]) -> None:
    stored = pq.read_table(written["metadata.parquet"]).to_pydict()
    assert {"=1+1", "-1.5", "'=1+1"} <= set(stored["note"])
    assert "escaped_columns" not in stored
    assert set(stored["error_message"]) >= {"=EVIL()"}


def as_it_is(path: Path) -> Path:
    return path


def as_a_workbook(path: Path) -> Path:
    saved = path.with_suffix(".xlsx")
    pd.read_csv(path, dtype=str, keep_default_na=False).to_excel(saved, index=False)
    return saved


def as_parquet(path: Path) -> Path:
    saved = path.with_suffix(".parquet")
    pd.read_csv(path, dtype=str, keep_default_na=False).to_parquet(saved)
    return saved


@pytest.mark.parametrize("saved", [as_it_is, as_a_workbook, as_parquet])
@pytest.mark.parametrize("name", ["failed.csv", "manifest.csv"])
def test_handed_in_again_every_row_is_what_it_was(written: dict[str, Path], name: str, saved: Any) -> None:
    before, again = load(written["prompts.csv"]), load(saved(written[name]))
    assert {clip.clip_id: clip.fingerprint for clip in again.clips} == {
        clip.clip_id: clip.fingerprint for clip in before.clips
    }
    if saved is as_it_is:  # spreadsheets and data frames write line breaks as they like
        assert {clip.clip_id: dict(clip.carried) for clip in again.clips} == {
            clip.clip_id: dict(clip.carried) for clip in before.clips
        }
    assert [row.values["prompt"] for row in again.invalid] == ["=bad"]
    assert again.carried_columns == before.carried_columns


def test_what_a_person_writes_anew_is_taken_as_it_is(written: dict[str, Path]) -> None:
    rows = pd.read_csv(written["failed.csv"], dtype=str, keep_default_na=False).to_dict("records")
    rows[0] |= {"prompt": "a fox"}
    rows[1] |= {"escaped_columns": "edited away"}
    again = load(write_rows(written["failed.csv"], rows))
    assert again.clips[0].prompt == "a fox"
    assert again.clips[1].prompt.startswith("'=HYPERLINK")


def test_a_column_of_that_name_in_a_manifest_of_ones_own_changes_no_cell(manifest: WriteCsv) -> None:
    (clip,) = load(manifest({"prompt": "'=1", "escaped_columns": '["prompt"]'})).clips
    assert clip.prompt == "'=1"


@pytest.mark.anyio
async def test_costs_for_a_spreadsheet_run_nothing(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    production([{"clip_id": "a", "prompt": "a fox", "=who": "=cmd|'/c calc'!A1"}])
    await ensure_predictions(run_context, keys("a"), batch_id="b", may_begin=True)
    await collect_videos(run_context, keys("a"), resume_timed_out=False)
    result = CliRunner().invoke(app, ["costs", "--by", "=who", "--csv", str(tmp_path / "costs.csv")])
    assert result.exit_code == 0, result.output
    with (tmp_path / "costs.csv").open(newline="", encoding="utf-8-sig") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert [cell for cell in cells if is_formula(cell)] == []
    assert "'=cmd|'/c calc'!A1" in cells
