"""A manifest that changes while its clips are under way: nothing it no longer asks for is sent, and no paid video is lost."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState
from sora_pipeline.ledger.productions import Plan
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.sending import Sender
from sora_pipeline.production.submit_results import SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Producer,
    Sandbox,
    ids,
    key,
    keys,
    latest,
    other_run,
    standing,
)

pytestmark = pytest.mark.anyio


async def ensure(context: RunContext, *clip_ids: str) -> Any:
    return await ensure_predictions(context, keys(*clip_ids), batch_id=context.owner, may_begin=True)


async def test_a_video_is_verified_against_what_was_submitted(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production([{"clip_id": "a", "prompt": "a fox", "size": "720x1280"}])
    await ensure(run_context, "a")
    production([{"clip_id": "a", "prompt": "a wide fox", "size": "1280x720"}])
    collected = await collect_videos(run_context, keys("a"), resume_timed_out=False)
    assert collected.failed == {}
    assert "its row has changed" in collected.waiting[key("a")]
    attempt = latest(run_context.ledger, "a")
    assert attempt.state is AttemptState.COLLECTED
    video = attempt.result.video
    assert video is not None
    assert (video.facts.width, video.facts.height) == (720, 1280)
    stored = Path(video.uri)
    assert (await asyncio.to_thread(stored.read_bytes)).startswith(b"\0\0\0")
    sidecar = stored.parents[2] / ".sidecars" / "a" / f"{stored.stem}.json"
    assert '"prompt": "a fox"' in await asyncio.to_thread(sidecar.read_text), (
        "beside the file is what made the file"
    )
    surveyed = publish(run_context.ledger, PROMPTS, run_context.settings, "test")
    assert surveyed is not None
    (outcome,) = surveyed.outcomes
    assert (outcome.status, outcome.file_name) == ("pending", None), "not another fingerprint's file"
    await ensure(other_run(run_context), "a")
    again = await collect_videos(other_run(run_context), keys("a"), resume_timed_out=False)
    assert ids(again.delivered) == ["a"]
    assert await asyncio.to_thread(stored.is_file)
    assert sandbox.billed == 2


def _rows(count: int) -> list[dict[str, Any]]:
    return [{"clip_id": f"c{number}", "prompt": f"clip {number}"} for number in range(count)]


async def test_nothing_is_sent_that_the_manifest_no_longer_names_or_names_otherwise(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(_rows(6))
    context, results = run_context, SubmitResults()
    wanted = keys(*(f"c{number}" for number in range(6)))
    reservation = context.ledger.attempts.reserve(
        {each: context.cost_micros(standing(context.ledger, ids([each])[0]).clip) for each in wanted},
        account=context.account,
        batch_id="batch",
        limits=context.limits,
        lease_s=60,
        owner=context.owner,
    )
    standings = context.ledger.clips.standings(wanted)
    production([*_rows(2), {"clip_id": "c2", "prompt": "another clip"}])
    sender = Sender.of(context, results)
    for attempt in reservation.reserved:
        await sender.send(standings[attempt.clip_key], attempt)
    assert set(ids(results.ready)) == {"c0", "c1"}
    assert set(ids(results.waiting)) == {"c2", "c3", "c4", "c5"}
    assert sandbox.billed == 2
    assert context.ledger.clips.pending(3) == keys("c2"), "as it is now"
    assert not context.ledger.attempts.live(AttemptState.RESERVED)


async def test_a_command_that_asks_for_a_manifest_stops_what_that_no_longer_names_at_once(
    run_context: RunContext, production: Producer
) -> None:
    made = production(_rows(4))
    monday = production(_rows(4), file="monday.csv", name="monday")
    ledger = run_context.ledger
    clips = ledger.clips.of_production(PROMPTS)
    plan = Plan(PROMPTS, "", made.manifest_uri, made.output_uri, run_context.account)
    ledger.productions.request(plan, wanted=[clips[0], replace(clips[1], prompt="changed")])
    assert ledger.clips.pending(3, PROMPTS) == keys("c0")
    assert len(ledger.clips.pending(3, monday.production_id)) == 4
    production(_rows(4))
    assert len(ledger.clips.pending(3, PROMPTS)) == 4, "what is read wants it again"
