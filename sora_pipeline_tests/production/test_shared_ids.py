"""Two rows with one clip id, with a real ledger and provider: nothing that was made is lost, nothing is paid twice."""

import csv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    Producer,
    Sandbox,
    ids,
    keys,
    other_run,
    settings_of,
    write_manifest,
)

pytestmark = pytest.mark.anyio

FOX = {"clip_id": "fox", "prompt": "a fox", "takes": "2", "note": "x"}
OWL = {"clip_id": "owl", "prompt": "an owl", "takes": "", "note": ""}
OTHER = {"clip_id": "fox", "prompt": "another fox", "takes": "", "note": ""}


async def make(run_context: RunContext, *clip_ids: str, owner: str = "run-1") -> None:
    context, wanted = other_run(run_context, owner), keys(*clip_ids, production="monday")
    await ensure_predictions(context, wanted, batch_id=owner, may_begin=True)
    await collect_videos(context, wanted, resume_timed_out=False)


def statuses(ledger: Ledger, made: Production) -> dict[str, str]:
    assert publish(ledger, made.production_id, settings_of(), "publisher") is not None
    rows = pq.read_table(f"{made.output_uri}/metadata.parquet").to_pylist()
    assert len({row["clip_id"] for row in rows}) == len(rows), "each row of an output has an id of its own"
    return {row["prompt"] + f" {row['take'] or ''}": row["status"] for row in rows}


def failed_rows(made: Production) -> list[dict[str, str]]:
    with (Path(made.output_uri) / "failed.csv").open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


async def test_a_delivered_clip_outlives_a_row_that_wants_its_id(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    made = production([FOX, OWL], file="monday.csv")
    await make(run_context, "fox", "fox-t2", "owl")
    production([OTHER, FOX, OWL], file="monday.csv")
    assert statuses(ledger, made) == {
        "a fox 1": "delivered",
        "a fox 2": "delivered",
        "an owl 1": "delivered",
        "another fox ": "invalid",
    }
    assert not ledger.clips.pending(3, "monday")
    assert failed_rows(made) == [], "whose id it is, only the manifest can say"

    # Mended where it stands, it is made, and nothing else.
    production([{**OTHER, "clip_id": "fox-2"}, FOX, OWL], file="monday.csv")
    assert ids(ledger.clips.pending(3, "monday")) == ["fox-2"]
    await make(run_context, "fox-2", "fox", "fox-t2", "owl", owner="run-2")
    assert set(statuses(ledger, made).values()) == {"delivered"}
    assert sandbox.billed == 4
    assert sandbox.billed_for("another fox") == 1


async def test_a_clip_in_flight_outlives_it_as_well(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    made = production([FOX, OWL], file="monday.csv")
    await ensure_predictions(run_context, keys("fox", production="monday"), batch_id="b", may_begin=True)
    production([FOX, OWL, OTHER], file="monday.csv")
    await collect_videos(run_context, keys("fox", production="monday"), resume_timed_out=False)
    assert statuses(ledger, made)["a fox 1"] == "delivered"
    assert sandbox.billed == 1


async def test_where_both_rows_are_new_neither_is_made_and_the_delivered_video_comes_back_when_one_is_mended(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    made = production([FOX, OWL], file="monday.csv")
    await make(run_context, "fox", "fox-t2", "owl")
    changed = {**FOX, "prompt": "a changed fox"}
    production([changed, OTHER, OWL], file="monday.csv")
    assert statuses(ledger, made) == {
        "a changed fox ": "invalid",
        "another fox ": "invalid",
        "an owl 1": "delivered",
    }
    assert failed_rows(made) == []
    production([FOX, {**OTHER, "clip_id": "other"}, OWL], file="monday.csv")
    assert ids(ledger.clips.pending(3, "monday")) == ["other"]
    assert statuses(ledger, made)["a fox 2"] == "delivered"
    assert sandbox.billed == 3


async def test_a_row_that_was_mended_apart_from_the_manifest_keeps_its_video(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    wrong = {**OWL, "takes": "", "size": "1x1"}
    made = production([{**FOX, "size": ""}, wrong], file="monday.csv")
    statuses(ledger, made)
    [failed] = failed_rows(made)
    production.read(write_manifest(production.folder / "mended.csv", [{**failed, "size": "1280x720"}]))
    await make(run_context, "fox", "fox-t2", "owl")
    production([{**FOX, "size": ""}, wrong, {**OTHER, "clip_id": "owl", "size": ""}], file="monday.csv")
    assert statuses(ledger, made) == {
        "a fox 1": "delivered",
        "a fox 2": "delivered",
        "an owl 1": "delivered",
        "another fox ": "invalid",
    }
    assert not ledger.clips.pending(3, "monday")
    assert sandbox.billed == 3
