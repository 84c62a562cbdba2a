import asyncio
import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.columns import OUTPUT_COLUMNS
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Producer,
    Sandbox,
    keys,
    other_run,
    rows_of,
    settings_of,
    standing,
)
from sora_pipeline_tests.production.gallery.decoding import rows_in

pytestmark = pytest.mark.anyio


async def make(run_context: RunContext, *clip_ids: str) -> None:
    await ensure_predictions(run_context, keys(*clip_ids), batch_id=run_context.owner, may_begin=True)
    await collect_videos(run_context, keys(*clip_ids), resume_timed_out=True)


def published(folder: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(folder / "metadata.parquet")
    return {row["clip_id"]: row for row in table.to_pylist()}


def rows_of_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


async def test_every_row_is_published_once_whatever_happened_to_it(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    rows = [
        {"clip_id": "delivered", "prompt": "a fox", "duration": "4", "campaign": "autumn"},
        {"clip_id": "failed", "prompt": "[sandbox:policy] a fox", "duration": "4", "campaign": "autumn"},
        {"clip_id": "late", "prompt": "[sandbox:policy-late] a fox", "duration": "4", "campaign": ""},
        {"clip_id": "lost", "prompt": "[sandbox:lost-answer] a fox", "duration": "4", "campaign": ""},
        {"clip_id": "other-size", "prompt": "[sandbox:wrong-size] a fox", "duration": "4", "campaign": ""},
        {"clip_id": "torn", "prompt": "[sandbox:truncated] a fox", "duration": "4", "campaign": ""},
        {"clip_id": "rendering", "prompt": "[sandbox:stuck] a fox", "duration": "4", "campaign": ""},
        {"clip_id": "waiting", "prompt": "an owl", "duration": "4", "campaign": ""},
        {"clip_id": "wrong", "prompt": "a bear", "duration": "5", "campaign": "spring"},
    ]
    made = production(rows)
    await make(run_context, "delivered", "failed", "late", "lost", "other-size", "torn")
    await ensure_predictions(run_context, keys("rendering"), batch_id="two", may_begin=True)
    done = publish(run_context.ledger, made.production_id, settings_of(), "publisher")
    assert done is not None
    table = pq.read_table(tmp_path / "out" / PROMPTS / "metadata.parquet")
    assert tuple(table.column_names) == (*OUTPUT_COLUMNS, "campaign")
    assert table["clip_id"].to_pylist() == sorted(row["clip_id"] for row in rows)
    shown = published(tmp_path / "out" / PROMPTS)
    assert {clip_id: row["status"] for clip_id, row in shown.items()} == {
        "delivered": "delivered",
        "failed": "failed",
        "late": "failed",
        "lost": "ambiguous",
        "other-size": "failed",
        "torn": "in_flight",
        "rendering": "in_flight",
        "waiting": "pending",
        "wrong": "invalid",
    }
    assert [clip_id for clip_id, row in shown.items() if row["file_name"]] == ["delivered"]
    assert (tmp_path / "out" / PROMPTS / shown["delivered"]["file_name"]).is_file()
    assert shown["delivered"]["video_path"] == str(
        tmp_path / "out" / PROMPTS / shown["delivered"]["file_name"]
    )
    assert shown["delivered"]["campaign"] == "autumn"
    assert (shown["failed"]["cost_usd"], shown["failed"]["error_kind"]) == (None, "content_policy")
    assert shown["lost"]["cost_usd"] == shown["late"]["cost_usd"] == shown["delivered"]["cost_usd"] == 1.2
    assert "duration" in shown["wrong"]["error_message"] or "5" in shown["wrong"]["error_message"]
    billed = float(sandbox.bill()["total_usd"])
    assert sum(row["cost_usd"] or 0 for row in shown.values()) == pytest.approx(billed)
    assert done.counts["invalid"] == 1
    assert len(rows_of_csv(tmp_path / "out" / PROMPTS / "manifest.csv")) == len(rows)
    looked_at = rows_in(tmp_path / "out" / PROMPTS, "lists")
    assert [(row["id"], row["status"]) for row in looked_at] == [
        (row["clip_id"], shown[row["clip_id"]]["status"]) for row in rows
    ]


async def test_failed_rows_are_a_manifest_that_can_be_mended_and_read(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    from PIL import Image

    Image.new("RGB", (720, 1280), "red").save(tmp_path / "first.png")
    rows = [
        {"clip_id": "good", "prompt": "a fox", "image": "", "size": "720x1280", "campaign": "autumn"},
        {
            "clip_id": "bad",
            "prompt": "[sandbox:policy] a fox",
            "image": "first.png",
            "size": "720x1280",
            "campaign": "autumn",
        },
        {"clip_id": "wrong", "prompt": "a bear", "image": "", "size": "1x1", "campaign": "spring"},
    ]
    made = production(rows)
    await make(run_context, "good", "bad")
    publish(run_context.ledger, made.production_id, settings_of(), "publisher")
    failed = rows_of_csv(tmp_path / "out" / PROMPTS / "failed.csv")
    assert [row["clip_id"] for row in failed] == ["bad", "wrong"]
    mended = [
        {**row, "prompt": row["prompt"].replace("[sandbox:policy] ", ""), "size": "720x1280"}
        for row in failed
    ]
    again = production(mended, file="mended.csv")
    assert again.production_id == made.production_id
    assert list(run_context.ledger.clips.standings_of(again.production_id)) == keys("good", "bad", "wrong")
    clip = standing(run_context.ledger, "bad").clip
    assert clip.image == str(tmp_path / "first.png")
    assert clip.carried == {"campaign": "autumn"}
    await make(other_run(run_context), "bad", "wrong")
    publish(run_context.ledger, again.production_id, settings_of(), "publisher")
    shown = published(tmp_path / "out" / PROMPTS)
    assert {clip_id: row["status"] for clip_id, row in shown.items()} == dict.fromkeys(
        ("good", "bad", "wrong"), "delivered"
    )
    assert rows_of_csv(tmp_path / "out" / PROMPTS / "failed.csv") == []


async def test_published_state_is_recorded_and_changes_make_it_stale(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(a="a fox"))
    ledger = run_context.ledger
    assert [each.production_id for each in ledger.productions.unpublished("")] == [made.production_id]
    publish(ledger, made.production_id, settings_of(), "publisher")
    assert ledger.productions.unpublished("") == []
    await make(run_context, "a")
    assert [each.production_id for each in ledger.productions.unpublished("")] == [made.production_id]


async def test_two_publishers_at_once_leave_one_whole_newest_manifest(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    made = production(rows_of(**{f"clip{number}": f"clip {number}" for number in range(30)}))
    results = await asyncio.gather(
        *(
            asyncio.to_thread(publish, run_context.ledger, made.production_id, settings_of(), f"run-{n}")
            for n in range(4)
        )
    )
    assert any(results)
    assert len(published(tmp_path / "out" / PROMPTS)) == 30
    assert run_context.ledger.productions.unpublished("") == []
    assert list((tmp_path / "out" / PROMPTS / ".staging").iterdir()) == []


async def test_older_state_never_replaces_a_newer_one(ledger: Ledger, production: Producer) -> None:
    made = production(rows_of(a="a fox"))
    old = ledger.productions.get(made.production_id).change_seq
    production(rows_of(a="a fox", b="an owl"))
    publish(ledger, made.production_id, settings_of(), "newer")
    assert not ledger.productions.record_published(made.production_id, old, "older")
    assert ledger.productions.unpublished("") == []


async def test_publisher_that_died_is_followed_by_the_next(
    ledger: Ledger, production: Producer, clock: Any
) -> None:
    made = production(rows_of(a="a fox"))
    assert ledger.productions.claim_publish(made.production_id, "dead", 60)
    assert publish(ledger, made.production_id, settings_of(), "next") is None
    clock.turn(61)
    assert publish(ledger, made.production_id, settings_of(), "next") is not None


async def test_second_output_gets_copies_and_pays_nothing(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await make(run_context, "a", "b")
    second: Production = production(rows_of(a="a fox", b="an owl"), output="elsewhere")
    assert run_context.ledger.clips.pending(3) == []
    await make(other_run(run_context), "a", "b")
    publish(run_context.ledger, second.production_id, settings_of(), "publisher")
    shown = published(tmp_path / "elsewhere")
    for row in shown.values():
        assert row["status"] == "delivered"
        assert row["video_path"].startswith(str(tmp_path / "elsewhere"))
        copy, original = (
            tmp_path / "elsewhere" / row["file_name"],
            tmp_path / "out" / PROMPTS / row["file_name"],
        )
        assert copy.read_bytes() == original.read_bytes()
        assert (tmp_path / "elsewhere" / row["poster_path"]).is_file()
    assert sandbox.billed == 2


async def test_changed_row_is_pending_again_and_the_old_file_stays(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    made = production(rows_of(a="a fox", b="an owl"))
    await make(run_context, "a", "b")
    before = published_after(run_context, made, tmp_path)
    production(rows_of(a="a red fox", b="an owl"))
    assert run_context.ledger.clips.pending(3) == keys("a")
    between = published_after(run_context, made, tmp_path)
    assert (between["a"]["status"], between["b"]["status"]) == ("pending", "delivered")
    await make(other_run(run_context), "a", "b")
    after = published_after(run_context, made, tmp_path)
    assert after["a"]["file_name"] != before["a"]["file_name"]
    assert after["a"]["cost_usd"] == pytest.approx(2.4)
    assert {**after["b"], "manifest_sha256": before["b"]["manifest_sha256"]} == before["b"]
    assert (tmp_path / "out" / PROMPTS / before["a"]["file_name"]).is_file()
    assert sandbox.billed == 3


def published_after(run_context: RunContext, made: Production, tmp_path: Path) -> dict[str, dict[str, Any]]:
    publish(run_context.ledger, made.production_id, settings_of(), "publisher")
    return published(tmp_path / "out" / PROMPTS)


async def test_clips_that_a_budget_holds_are_pending_with_that_reason(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    made = production(rows_of(a="a fox", b="an owl"), budget=Decimal("1.50"))
    await make(run_context, "a")
    publish(run_context.ledger, made.production_id, settings_of(), "publisher")
    rows = published(tmp_path / "out" / PROMPTS)
    assert (rows["b"]["status"], rows["b"]["error_kind"], rows["b"]["retryable"]) == (
        "pending",
        "budget",
        True,
    )
    assert "--budget" in rows["b"]["error_message"]
    assert (rows["a"]["status"], rows["a"]["error_kind"]) == ("delivered", None)
