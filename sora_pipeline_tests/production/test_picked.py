"""Delivered clips that a person marked bad: made anew once, at their price, and nobody else's of the same id."""

from pathlib import Path

import pytest

from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.manifest.picks import Mark, Pick
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.picked import Picked, bad_clips, make_anew
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    Producer,
    Sandbox,
    key,
    keys,
    latest,
    other_run,
    rows_of,
    settings_of,
    standing,
)
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.production.parts import failure_of, video_of
from sora_pipeline_tests.production.test_publishing import published

pytestmark = pytest.mark.anyio


async def make(run_context: RunContext, *clip_keys: str) -> None:
    await ensure_predictions(run_context, clip_keys, batch_id=run_context.owner, may_begin=True)
    await collect_videos(run_context, clip_keys, resume_timed_out=True)


def video_name(ledger: Ledger, clip_id: str, production: str = "prompts") -> str:
    delivered = standing(ledger, clip_id, production).delivered
    assert delivered is not None
    return video_of(delivered).file_name


def pick(ledger: Ledger, clip_id: str, production: str = "prompts", mark: Mark = Mark.BAD) -> Pick:
    return Pick(production, clip_id, mark, "six fingers", video_name(ledger, clip_id, production), 1)


async def test_bad_clip_is_made_anew_and_its_old_video_stays_a_file(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    made, ledger = production(rows_of(a="a fox", b="an owl")), run_context.ledger
    await make(run_context, *keys("a", "b"))
    old, bad = video_name(ledger, "a"), pick(ledger, "a")
    picked = bad_clips(ledger, ["prompts"], [bad, pick(ledger, "b", mark=Mark.GOOD)])
    assert (list(picked.anew), [clip.clip_id for clip in picked.clips]) == ([key("a")], ["a"])
    assert make_anew(ledger, settings_of(), picked) == [key("a")]
    assert ledger.clips.pending(3) == [key("a")]
    assert failure_of(latest(ledger, "a")).message == f"a person marked its video {old} bad: six fingers"
    publish(ledger, made.production_id, settings_of(), "run")
    between = published(Path(made.output_uri))
    assert (between["a"]["status"], between["a"]["file_name"], between["b"]["status"]) == (
        "pending",
        None,
        "delivered",
    )
    await make(other_run(run_context), *keys("a", "b"))
    publish(ledger, made.production_id, settings_of(), "run")
    after = published(Path(made.output_uri))["a"]
    assert after["status"] == "delivered"
    assert after["file_name"] != old
    assert after["cost_usd"] == pytest.approx(2.4)
    assert (Path(made.output_uri) / old).is_file()
    assert sandbox.billed == 3
    require_right_counters(ledger)


async def test_the_same_file_again_costs_nothing_more(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    ledger = run_context.ledger
    production(rows_of(a="a fox"))
    await make(run_context, key("a"))
    picks = [pick(ledger, "a")]
    one, other = (bad_clips(ledger, ["prompts"], picks) for _ in range(2))
    assert make_anew(ledger, settings_of(), one) == [key("a")]
    assert make_anew(ledger, settings_of(), other) == [], "two commands at the same moment"
    meanwhile = bad_clips(ledger, ["prompts"], picks)
    assert (meanwhile.anew, meanwhile.without_video) == ({}, [key("a")])
    await make(other_run(run_context), key("a"))
    assert bad_clips(ledger, ["prompts"], picks).since == [key("a")]
    assert sandbox.billed == 2


async def test_equal_ids_of_two_productions_are_never_mixed(
    run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    for name in ("monday", "tuesday"):
        production(rows_of(a=f"{name}'s fox"), file=f"{name}.csv")
        await make(other_run(run_context, name), clip_key(name, "a"))
    bad = pick(ledger, "a", "tuesday")
    assert make_anew(ledger, settings_of(), bad_clips(ledger, ["monday", "tuesday"], [bad])) == ["tuesday:a"]
    assert latest(ledger, "a", "monday").state is AttemptState.COLLECTED
    assert bad_clips(ledger, ["monday"], [bad]).unknown == [bad], "it is not among those that are meant"


async def test_clips_without_the_marked_video_are_told_apart(
    run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    production(rows_of(failed="[sandbox:policy] a fox", gone="an owl"))
    await make(run_context, *keys("failed", "gone"))
    gone = pick(ledger, "gone")
    production(rows_of(failed="[sandbox:policy] a fox"))
    failed = Pick("prompts", "failed", Mark.BAD, "", None, 2)
    other = Pick("never", "a", Mark.BAD, "", None, 3)
    assert bad_clips(ledger, ["prompts"], [gone, failed, other]) == Picked(
        without_video=[key("failed")], unknown=[gone, other]
    )
