import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState
from sora_pipeline.media.poster import poster_frame
from sora_pipeline.media.probe import VideoError, VideoErrorKind, verify_video
from sora_pipeline.production import collecting
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.gptproto import GptProto
from sora_pipeline.video import VideoFacts
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Producer,
    RunContexts,
    Sandbox,
    ids,
    key,
    keys,
    latest,
    other_run,
    rows_of,
    standing,
)
from sora_pipeline_tests.media.conftest import write_video
from sora_pipeline_tests.production.parts import failure_of, video_of

pytestmark = pytest.mark.anyio


async def submit(run_context: RunContext, *clip_ids: str) -> None:
    results = await ensure_predictions(run_context, keys(*clip_ids), batch_id="batch", may_begin=True)
    assert set(ids(results.ready)) == set(clip_ids), results


async def collect(run_context: RunContext, *clip_ids: str, resume_timed_out: bool = False) -> Collected:
    async with asyncio.timeout(40):
        return await collect_videos(run_context, keys(*clip_ids), resume_timed_out=resume_timed_out)


async def make(run_context: RunContext, *clip_ids: str) -> Collected:
    await submit(run_context, *clip_ids)
    return await collect(run_context, *clip_ids)


class CountingProvider(GptProto):
    """The real provider, which counts how often an output is asked for."""

    downloads = 0

    def open_output(self, url: str, *, headers: Mapping[str, str] | None = None) -> Any:
        self.downloads += 1
        return super().open_output(url, headers=headers)


@asynccontextmanager
async def counting(
    run_context: RunContext, sandbox: Sandbox
) -> AsyncIterator[tuple[RunContext, CountingProvider]]:
    config = ProviderConfig(name="sandbox", base_url=sandbox.url, api_key=sandbox.endpoint.api_key)
    async with CountingProvider(config, run_context.catalogue) as provider:
        yield replace(run_context, provider=provider), provider


async def test_video_is_stored_untouched_with_a_poster_and_a_sidecar(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="a fox"))
    collected = await make(run_context, "a")
    attempt = collected.delivered[key("a")]
    assert attempt.state is AttemptState.COLLECTED
    stored = (tmp_path / "out" / PROMPTS / video_of(attempt).file_name).read_bytes()
    assert video_of(attempt).facts.sha256 == hashlib.sha256(stored).hexdigest()
    assert attempt.result.output_url is not None
    assert stored == sandbox.http.get(attempt.result.output_url).content
    facts = video_of(attempt).facts
    assert (facts.width, facts.height, facts.bytes) == (720, 1280, len(stored))
    assert collected.posters[key("a")].startswith(b"\xff\xd8")
    assert (
        tmp_path / "out" / PROMPTS / str(video_of(attempt).poster_path)
    ).read_bytes() == collected.posters[key("a")]
    assert list((tmp_path / "out" / PROMPTS / ".sidecars" / "a").iterdir())
    assert list((tmp_path / "out" / PROMPTS / ".staging").iterdir()) == []


async def test_what_a_killed_run_had_downloaded_is_cleared_away_by_the_next(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(run_context, "a", "b")
    a, b = (latest(run_context.ledger, each).attempt_id for each in ("a", "b"))
    staging = tmp_path / "out" / PROMPTS / ".staging"
    for name in (f"{a}-a-deadbeef.mp4", f"{b}-b-deadbeef.mp4"):
        (staging / name).write_bytes(b"half a video")
    assert set(ids((await collect(run_context, "a")).delivered)) == {"a"}
    assert [path.name for path in staging.iterdir()] == [f"{b}-b-deadbeef.mp4"], "that run may live"


@pytest.mark.parametrize("fault", ["late-file", "expired", "short-body"])
async def test_output_that_is_late_or_moved_is_fetched_in_the_end(
    run_context: RunContext, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    await submit(run_context, "a")
    collected = await collect(run_context, "a")
    assert set(ids(collected.delivered)) == {"a"}, "a body that is cut half way is gone on with by Range"
    assert sandbox.billed == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("truncated", "truncated"), ("damaged", "truncated"), ("wrong-type", "download")],
)
async def test_damaged_download_leaves_the_attempt_collectable(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path, fault: str, kind: str
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox", b="an owl"))
    collected = await make(run_context, "a", "b")
    assert set(ids(collected.delivered)) == {"b"}
    assert "the video can still be fetched" in collected.failed[key("a")][1]
    attempt = latest(run_context.ledger, "a")
    assert (attempt.state, failure_of(attempt).kind) == (AttemptState.SUCCEEDED, kind)
    assert run_context.ledger.clips.pending(3) == [], "it is paid for and not paid again"
    assert not (tmp_path / "out" / PROMPTS / "videos" / "a").exists()
    assert sandbox.billed == 2


async def test_the_poster_of_a_damaged_copy_is_not_that_of_the_next(
    run_context: RunContext, production: Producer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [write_video(tmp_path / "damaged.mp4", width=720, height=1280)]

    def verify(path: Path, **asked: Any) -> VideoFacts:
        if not copies:
            return verify_video(path, **asked)
        verify_video(copies.pop(), **asked)
        raise VideoError(VideoErrorKind.TRUNCATED, "the last frame of this copy is broken")

    monkeypatch.setattr(collecting, "verify_video", verify)
    production(rows_of(a="a fox"))
    collected = await make(run_context, "a")
    stored = tmp_path / "out" / PROMPTS / video_of(collected.delivered[key("a")]).file_name
    assert collected.posters[key("a")] == poster_frame(stored)


async def test_a_video_whose_metadata_are_no_utf_8_is_delivered(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="[sandbox:odd-metadata] a fox", b="an owl"))
    assert set(ids((await make(run_context, "a", "b")).delivered)) == {"a", "b"}


async def test_video_of_another_size_is_kept_and_flagged_but_not_delivered(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="[sandbox:wrong-size] a fox"))
    collected = await make(run_context, "a")
    attempt, message = collected.failed[key("a")]
    assert (attempt.state, failure_of(attempt).kind, failure_of(attempt).retryable) == (
        AttemptState.FAILED,
        "wrong_size",
        False,
    )
    assert "the file is kept as videos/a/" in message
    assert collected.posters[key("a")].startswith(b"\xff\xd8")
    assert (tmp_path / "out" / PROMPTS / video_of(attempt).file_name).stat().st_size == video_of(
        attempt
    ).facts.bytes
    assert standing(run_context.ledger, "a").delivered is None
    assert run_context.ledger.clips.pending(3) == []
    assert sandbox.billed == 1


async def test_failed_render_is_reported_with_the_providers_words(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="[sandbox:policy-late] a fox", b="an owl"))
    collected = await make(run_context, "a", "b")
    assert set(ids(collected.delivered)) == {"b"}
    assert collected.failed[key("a")][1].startswith("content_policy: ")


async def test_clip_without_an_attempt_waits(run_context: RunContext, production: Producer) -> None:
    production(rows_of(a="a fox"))
    collected = await collect(run_context, "a", "nobody")
    assert collected.waiting == {
        key("a"): "it has no attempt yet",
        key("nobody"): "no manifest that was read names this clip",
    }


async def test_timed_out_clip_is_resumed_only_for_a_person(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    sandbox.change(render_s=1.5)
    production(rows_of(a="a fox"))
    impatient = other_run(run_context, generation_timeout_s=0.3)
    await submit(impatient, "a")
    collected = await collect(impatient, "a")
    assert collected.failed[key("a")][1].startswith("timed_out: ")
    collected = await collect(run_context, "a", resume_timed_out=True)
    assert set(ids(collected.delivered)) == {"a"}
    assert sandbox.billed == 1


async def test_two_collectors_at_once_download_once(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(run_context, "a", "b")
    async with counting(run_context, sandbox) as (counted, provider):
        one, two = await asyncio.gather(collect(counted, "a", "b"), collect(other_run(counted), "a", "b"))
    assert set(ids(one.delivered)) == set(ids(two.delivered)) == {"a", "b"}
    assert provider.downloads == 2


async def test_delivered_clip_is_not_downloaded_again(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await make(run_context, "a")
    async with counting(run_context, sandbox) as (counted, provider):
        again = await collect(counted, "a")
    assert set(ids(again.delivered)) == {"a"}
    assert provider.downloads == 0


async def test_file_from_before_a_crash_is_adopted(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    """The process died after the file got its name and before the ledger knew."""
    production(rows_of(a="a fox"))
    first = (await make(run_context, "a")).delivered[key("a")]
    file = tmp_path / "out" / PROMPTS / video_of(first).file_name
    inode = file.stat().st_ino
    with run_context.ledger.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE attempts SET state = 'succeeded', file_name = NULL, reported_at = NULL"
        )
    second = (await collect(other_run(run_context), "a")).delivered[key("a")]
    assert video_of(second).file_name == video_of(first).file_name
    assert video_of(second).facts.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_ino == inode, "a paid file is never written over"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
async def test_full_disk_leaves_the_attempt_collectable(
    run_context: RunContext, production: Producer, tmp_path: Path, sandbox: Sandbox
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(run_context, "a", "b")
    attempt = latest(run_context.ledger, "a")
    staging = tmp_path / "out" / PROMPTS / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    (staging / f"{attempt.attempt_id}-a-{run_context.owner[:8]}.mp4").symlink_to("/dev/full")
    collected = await collect(run_context, "a", "b")
    assert set(ids(collected.delivered)) == {"b"}, "the others are not torn along"
    assert "no space left" in collected.failed[key("a")][1]
    assert "SORA_OUTPUT" in collected.failed[key("a")][1]
    assert latest(run_context.ledger, "a").state is AttemptState.SUCCEEDED
    assert set(ids((await collect(run_context, "a")).delivered)) == {"a"}, (
        "with room again it is simply fetched"
    )
    assert sandbox.billed == 2


@pytest.mark.parametrize("in_the_way", ["videos", ".staging"])
async def test_output_that_cannot_be_written_leaves_the_attempt_collectable(
    run_context: RunContext, production: Producer, tmp_path: Path, sandbox: Sandbox, in_the_way: str
) -> None:
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    obstacle = tmp_path / "out" / PROMPTS / in_the_way
    if obstacle.is_dir():
        obstacle.rmdir()
    obstacle.write_text("a file where a folder should be")
    collected = await collect(run_context, "a")
    assert "a part of its path is a file" in collected.failed[key("a")][1]
    attempt = latest(run_context.ledger, "a")
    assert (attempt.state, failure_of(attempt).kind, attempt.lease.owner) == (
        AttemptState.SUCCEEDED,
        "store",
        None,
    )
    obstacle.unlink()
    assert set(ids((await collect(run_context, "a")).delivered)) == {"a"}
    assert sandbox.billed == 1


async def test_wrong_video_that_cannot_be_stored_leaves_the_attempt_collectable(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="[sandbox:wrong-size] a fox"))
    await submit(run_context, "a")
    (tmp_path / "out" / PROMPTS / "videos").write_text("a file where a folder should be")
    collected = await collect(run_context, "a")
    assert "a part of its path is a file" in collected.failed[key("a")][1]
    assert latest(run_context.ledger, "a").state is AttemptState.SUCCEEDED


async def test_outage_while_downloading_leaves_the_attempt_collectable(
    contexts: RunContexts, run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    async with asyncio.timeout(10):
        while latest(run_context.ledger, "a").state is not AttemptState.SUCCEEDED:
            await sweep(run_context, run_context.ledger.attempts.due(10, account="sandbox"), budget_s=5)
            await asyncio.sleep(0.05)
    sandbox.change(outage="503")
    collected = await collect(run_context, "a")
    assert "can still be fetched" in collected.failed[key("a")][1]
    sandbox.change(outage="none")
    assert set(ids((await collect(run_context, "a")).delivered)) == {"a"}
