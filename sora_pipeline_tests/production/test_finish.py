"""When a production has finished, and what its output says of that while it goes on, ends and begins again."""

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sora_pipeline.ledger import Production
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.delivered import delivered_production
from sora_pipeline.production.finish import FINISHED, read_finish, withdraw_if_going_on
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.conftest import Producer, keys, other_run, rows_of, settings_of

pytestmark = pytest.mark.anyio

KEY = b"sora_pipeline.finished_at"


async def make(run_context: RunContext, *clip_ids: str, production: str = "prompts") -> None:
    wanted = keys(*clip_ids, production=production)
    await ensure_predictions(run_context, wanted, batch_id=run_context.owner, may_begin=True)
    await collect_videos(run_context, wanted, resume_timed_out=True)


def published(run_context: RunContext, made: Production, **options: Any) -> dict[str, Any] | None:
    """Publish it; what its output says of its end."""
    assert publish(run_context.ledger, made.production_id, settings_of(), "publisher", **options) is not None
    path = Path(made.output_uri) / FINISHED
    said: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    noted = (pq.read_schema(Path(made.output_uri) / "metadata.parquet").metadata or {}).get(KEY)
    assert (noted is None) == (said is None)
    if said is not None and noted is not None:
        assert datetime.fromisoformat(noted.decode()) == datetime.fromisoformat(said["finished_at"])
    return said


async def test_one_has_finished_when_every_row_has_ended(
    run_context: RunContext, production: Producer
) -> None:
    rows = rows_of(a="a fox", b="[sandbox:policy] a fox", c="[sandbox:lost-answer] a fox", d="an owl")
    made = production(
        [{"duration": "4", **row} for row in rows] + [{"clip_id": "e", "prompt": "x", "duration": "5"}]
    )
    assert published(run_context, made) is None
    await make(run_context, "a", "b", "c")
    assert published(run_context, made) is None, "one is pending"
    assert delivered_production(run_context.ledger, "", "prompts").finished_at() is None
    await make(other_run(run_context), "d")
    said = published(run_context, made)
    assert said is not None
    assert said["production"] == "prompts"
    assert said["counts"] == {"ambiguous": 1, "delivered": 2, "failed": 1, "invalid": 1}
    assert said["rows"] == 5
    assert said["cost_usd"] == pytest.approx(3.6)
    assert (said["simulated"], said["snapshot_sha256"]) == (
        True,
        run_context.ledger.productions.get("prompts").snapshot_sha256,
    )
    delivered = delivered_production(run_context.ledger, "", "prompts")
    assert delivered.finished_at() == datetime.fromisoformat(said["finished_at"])
    for name, told in (("manifest.csv", "rows_sha256"), ("metadata.parquet", "metadata_sha256")):
        assert hashlib.sha256((Path(made.output_uri) / name).read_bytes()).hexdigest() == said[told]


async def test_one_that_a_budget_stops_has_not_finished(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl"), budget=Decimal("1.50"))
    await make(run_context, "a")
    assert published(run_context, made) is None


async def test_reading_the_same_manifest_again_is_no_second_end(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(a="a fox"))
    await make(run_context, "a")
    first = published(run_context, made)
    production(rows_of(a="a fox"))
    assert run_context.ledger.productions.unpublished("") != []
    assert published(run_context, made) == first


async def test_retry_takes_the_word_back_at_once(run_context: RunContext, production: Producer) -> None:
    made = production(rows_of(a="a fox", b="[sandbox:policy] a fox"))
    await make(run_context, "a", "b")
    first = published(run_context, made)
    assert first is not None
    retry_clips(run_context.ledger, settings_of(), ["prompts"], [])
    assert read_finish(OutputStore(made.output_uri)) is None
    assert published(run_context, made) is None
    await make(other_run(run_context), "b")
    again = published(run_context, made)
    assert again is not None
    assert again["finished_at"] > first["finished_at"]


async def test_new_rows_take_the_word_back_and_rows_that_go_do_not(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl"))
    await make(run_context, "a", "b")
    first = published(run_context, made)
    assert first is not None
    withdraw_if_going_on(run_context.ledger, production(rows_of(a="a fox")), settings_of())
    fewer = published(run_context, made)
    assert fewer is not None
    assert (fewer["rows"], fewer["finished_at"] > first["finished_at"]) == (1, True)
    withdraw_if_going_on(run_context.ledger, production(rows_of(a="a fox", c="a bear")), settings_of())
    assert read_finish(OutputStore(made.output_uri)) is None


async def test_each_of_two_productions_ends_for_itself(run_context: RunContext, production: Producer) -> None:
    monday = production(rows_of(a="a fox"), file="monday.csv")
    tuesday = production(rows_of(a="an owl"), file="tuesday.csv")
    await make(run_context, "a", production="monday")
    assert published(run_context, tuesday) is None
    said = published(run_context, monday)
    assert said is not None
    assert said["production"] == "monday"


async def test_end_that_nobody_tells_dagster_of_is_published_but_still_to_be_told(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(a="a fox"))
    published(run_context, made, finishes=False)
    assert run_context.ledger.productions.unpublished("") == [], "it goes on"
    await make(run_context, "a")
    assert published(run_context, made, finishes=False) is not None
    assert [each.production_id for each in run_context.ledger.productions.unpublished("")] == ["prompts"]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 2}', "\udcff"])
async def test_damaged_word_is_none(run_context: RunContext, production: Producer, content: str) -> None:
    made = production(rows_of(a="a fox"))
    await make(run_context, "a")
    said = published(run_context, made)
    (Path(made.output_uri) / FINISHED).write_bytes(content.encode(errors="surrogateescape"))
    assert read_finish(OutputStore(made.output_uri)) is None
    again = published(run_context, made)
    assert again is not None
    assert said is not None
    assert again["rows_sha256"] == said["rows_sha256"]
