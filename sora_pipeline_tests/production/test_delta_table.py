"""The output manifest as a Delta table: the same rows as the Parquet file, a version for each state that is worth one."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from sora_pipeline.production import delta_table
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.delta_table import DeltaError
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import Producer, keys, other_run, refusal, rows_of, settings_of

pytestmark = pytest.mark.anyio


async def make(run_context: RunContext, *clip_ids: str) -> None:
    await ensure_predictions(run_context, keys(*clip_ids), batch_id=run_context.owner, may_begin=True)
    await collect_videos(run_context, keys(*clip_ids), resume_timed_out=True)


def publish_with_table(run_context: RunContext, production: str = "prompts", **options: Any) -> None:
    assert publish(run_context.ledger, production, settings_of(table="delta"), "run", **options)


def rows_in(table: DeltaTable) -> list[dict[str, Any]]:
    return list(table.to_pyarrow_table().to_pylist())


async def test_table_has_the_rows_of_the_parquet_file_and_keeps_earlier_versions(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    made = production([{**row, "tags": "a;b", "shot": "1"} for row in rows_of(a="a fox", b="an owl")])
    publish_with_table(run_context)
    await make(run_context, "a", "b")
    publish_with_table(run_context)
    folder = Path(made.output_uri)
    table = DeltaTable(folder / "delta")
    parquet = pq.read_table(folder / "metadata.parquet")
    assert rows_in(table) == parquet.to_pylist()
    assert [field.name for field in table.schema().fields] == parquet.column_names
    (newest, first) = table.history()
    assert newest["sora_pipeline.production"] == "prompts"
    assert newest["sora_pipeline.finished_at"]
    assert first["sora_pipeline.finished_at"] == ""
    table.load_as_version(0)
    assert {row["status"] for row in rows_in(table)} == {"pending"}


async def test_same_state_is_no_second_version(run_context: RunContext, production: Producer) -> None:
    made = production(rows_of(a="a fox"))
    await make(run_context, "a")
    publish_with_table(run_context)
    production(rows_of(a="a fox"))
    publish_with_table(run_context)
    assert DeltaTable(Path(made.output_uri) / "delta").version() == 0


async def test_columns_may_come_go_and_change_their_type(
    run_context: RunContext, production: Producer
) -> None:
    made = production([{"clip_id": "a", "prompt": "a fox", "shot": "one", "old": "x"}])
    publish_with_table(run_context)
    production([{"clip_id": "a", "prompt": "a fox", "shot": "", "new": "=1+1"}])
    publish_with_table(run_context)
    (row,) = rows_in(DeltaTable(Path(made.output_uri) / "delta"))
    assert ("old" in row, row["new"]) == (False, "=1+1")


async def test_what_is_on_the_way_is_no_version(run_context: RunContext, production: Producer) -> None:
    made = production(rows_of(a="a fox"))
    publish_with_table(run_context, finishes=False)
    assert not (Path(made.output_uri) / "delta").exists()


async def test_two_productions_have_two_tables(run_context: RunContext, production: Producer) -> None:
    for name in ("monday", "tuesday"):
        made = production(rows_of(a=f"{name}'s fox"), file=f"{name}.csv")
        publish_with_table(run_context, name)
        (row,) = rows_in(DeltaTable(Path(made.output_uri) / "delta"))
        assert row["prompt"] == f"{name}'s fox"


async def test_many_rows_are_written_in_stretches(
    run_context: RunContext, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_table, "_ROWS", 10)
    made = production(rows_of(**{f"c{n:03}": f"clip {n}" for n in range(95)}))
    publish_with_table(run_context)
    assert DeltaTable(Path(made.output_uri) / "delta").to_pyarrow_table().num_rows == 95


async def test_table_that_cannot_be_written_is_said_once_everything_else_is_there(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(a="a fox"))
    await make(run_context, "a")
    folder = Path(made.output_uri)
    (folder / "delta").write_text("in the way")
    with refusal(DeltaError, "SORA_TABLE=none"):
        publish_with_table(run_context)
    assert (folder / "metadata.parquet").exists()
    assert (folder / "gallery.html").exists()
    assert run_context.ledger.productions.unpublished("") != []
    (folder / "delta").unlink()
    publish_with_table(other_run(run_context))
    assert (folder / "finished.json").exists()
