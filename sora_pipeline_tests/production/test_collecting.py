import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.context import Desk
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.gptproto import GptProto
from sora_pipeline_tests.conftest import (
    Office,
    Producer,
    Sandbox,
    latest,
    other_run,
    rows_of,
    standing,
)

pytestmark = pytest.mark.anyio


async def submit(desk: Desk, *clip_ids: str) -> None:
    ensured = await ensure_predictions(desk, clip_ids, batch_id="batch", may_begin=True)
    assert set(ensured.ready) == set(clip_ids), ensured


async def collect(desk: Desk, *clip_ids: str, resume_timed_out: bool = False) -> Collected:
    async with asyncio.timeout(40):
        return await collect_videos(desk, clip_ids, resume_timed_out=resume_timed_out)


async def make(desk: Desk, *clip_ids: str) -> Collected:
    await submit(desk, *clip_ids)
    return await collect(desk, *clip_ids)


class CountingProvider(GptProto):
    """The real provider, which counts how often an output is asked for."""

    downloads = 0

    def open_output(self, url: str, *, headers: Mapping[str, str] | None = None) -> Any:
        self.downloads += 1
        return super().open_output(url, headers=headers)


@asynccontextmanager
async def counting(desk: Desk, sandbox: Sandbox) -> AsyncIterator[tuple[Desk, CountingProvider]]:
    config = ProviderConfig(name="sandbox", base_url=sandbox.url, api_key=sandbox.endpoint.api_key)
    async with CountingProvider(config, desk.catalogue) as provider:
        yield replace(desk, provider=provider), provider


async def test_video_is_stored_untouched_with_a_poster_and_a_sidecar(
    desk: Desk, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="a fox"))
    collected = await make(desk, "a")
    attempt = collected.delivered["a"]
    assert attempt.state is AttemptState.COLLECTED
    assert attempt.file_name is not None
    stored = (tmp_path / "out" / attempt.file_name).read_bytes()
    assert attempt.sha256 == hashlib.sha256(stored).hexdigest()
    assert attempt.output_url is not None
    assert stored == sandbox.http.get(attempt.output_url).content
    assert (attempt.width, attempt.height, attempt.bytes) == (720, 1280, len(stored))
    assert collected.posters["a"].startswith(b"\xff\xd8")
    assert (tmp_path / "out" / str(attempt.poster_path)).read_bytes() == collected.posters["a"]
    assert list((tmp_path / "out" / ".sidecars" / "a").iterdir())
    assert list((tmp_path / "out" / ".staging").iterdir()) == []


async def test_what_a_killed_run_had_downloaded_is_cleared_away_by_the_next(
    desk: Desk, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(desk, "a", "b")
    a, b = (latest(desk.ledger, each).attempt_id for each in ("a", "b"))
    staging = tmp_path / "out" / ".staging"
    for name in (f"{a}-a-deadbeef.mp4", f"{b}-b-deadbeef.mp4"):
        (staging / name).write_bytes(b"half a video")
    assert set((await collect(desk, "a")).delivered) == {"a"}
    assert [path.name for path in staging.iterdir()] == [f"{b}-b-deadbeef.mp4"], "that run may live"


@pytest.mark.parametrize("fault", ["late-file", "expired", "short-body"])
async def test_output_that_is_late_or_moved_is_fetched_in_the_end(
    desk: Desk, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    await submit(desk, "a")
    collected = await collect(desk, "a")
    assert set(collected.delivered) == {"a"}, "a body that is cut half way is gone on with by Range"
    assert sandbox.billed == 1


@pytest.mark.parametrize(("fault", "kind"), [("truncated", "truncated"), ("wrong-type", "download")])
async def test_damaged_download_leaves_the_attempt_collectable(
    desk: Desk, sandbox: Sandbox, production: Producer, tmp_path: Path, fault: str, kind: str
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox", b="an owl"))
    collected = await make(desk, "a", "b")
    assert set(collected.delivered) == {"b"}
    assert "the video can still be fetched" in collected.failed["a"][1]
    attempt = latest(desk.ledger, "a")
    assert (attempt.state, attempt.error_kind) == (AttemptState.SUCCEEDED, kind)
    assert desk.ledger.clips.pending(3) == [], "it is paid for and not paid again"
    assert not (tmp_path / "out" / "videos" / "a").exists()
    assert sandbox.billed == 2


async def test_video_of_another_size_is_kept_and_flagged_but_not_delivered(
    desk: Desk, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="[sandbox:wrong-size] a fox"))
    collected = await make(desk, "a")
    attempt, message = collected.failed["a"]
    assert (attempt.state, attempt.error_kind, attempt.retryable) == (
        AttemptState.FAILED,
        "wrong_size",
        False,
    )
    assert "the file is kept as videos/a/" in message
    assert (tmp_path / "out" / str(attempt.file_name)).stat().st_size == attempt.bytes
    assert standing(desk.ledger, "a").delivered is None
    assert desk.ledger.clips.pending(3) == []
    assert sandbox.billed == 1


async def test_failed_render_is_reported_with_the_providers_words(desk: Desk, production: Producer) -> None:
    production(rows_of(a="[sandbox:policy-late] a fox", b="an owl"))
    collected = await make(desk, "a", "b")
    assert set(collected.delivered) == {"b"}
    assert collected.failed["a"][1].startswith("content_policy: ")


async def test_clip_without_an_attempt_waits(desk: Desk, production: Producer) -> None:
    production(rows_of(a="a fox"))
    collected = await collect(desk, "a", "nobody")
    assert collected.waiting == {
        "a": "it has no attempt yet",
        "nobody": "no manifest that was read names this clip",
    }


async def test_timed_out_clip_is_resumed_only_for_a_person(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    sandbox.change(render_s=1.5)
    production(rows_of(a="a fox"))
    impatient = other_run(desk, generation_timeout_s=0.3)
    await submit(impatient, "a")
    collected = await collect(impatient, "a")
    assert collected.failed["a"][1].startswith("timed_out: ")
    collected = await collect(desk, "a", resume_timed_out=True)
    assert set(collected.delivered) == {"a"}
    assert sandbox.billed == 1


async def test_two_collectors_at_once_download_once(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(desk, "a", "b")
    async with counting(desk, sandbox) as (counted, provider):
        one, two = await asyncio.gather(collect(counted, "a", "b"), collect(other_run(counted), "a", "b"))
    assert set(one.delivered) == set(two.delivered) == {"a", "b"}
    assert provider.downloads == 2


async def test_delivered_clip_is_not_downloaded_again(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await make(desk, "a")
    async with counting(desk, sandbox) as (counted, provider):
        again = await collect(counted, "a")
    assert set(again.delivered) == {"a"}
    assert provider.downloads == 0


async def test_file_from_before_a_crash_is_adopted(desk: Desk, production: Producer, tmp_path: Path) -> None:
    """The process died after the file got its name and before the ledger knew."""
    production(rows_of(a="a fox"))
    first = (await make(desk, "a")).delivered["a"]
    file = tmp_path / "out" / str(first.file_name)
    inode = file.stat().st_ino
    with desk.ledger.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE attempts SET state = 'succeeded', file_name = NULL, reported_at = NULL"
        )
    second = (await collect(other_run(desk), "a")).delivered["a"]
    assert second.file_name == first.file_name
    assert second.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_ino == inode, "a paid file is never written over"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
async def test_full_disk_leaves_the_attempt_collectable(
    desk: Desk, production: Producer, tmp_path: Path, sandbox: Sandbox
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(desk, "a", "b")
    attempt = latest(desk.ledger, "a")
    staging = tmp_path / "out" / ".staging"
    staging.mkdir(parents=True, exist_ok=True)
    (staging / f"{attempt.attempt_id}-a-{desk.owner[:8]}.mp4").symlink_to("/dev/full")
    collected = await collect(desk, "a", "b")
    assert set(collected.delivered) == {"b"}, "the others are not torn along"
    assert "no space left" in collected.failed["a"][1]
    assert "SORA_OUTPUT" in collected.failed["a"][1]
    assert latest(desk.ledger, "a").state is AttemptState.SUCCEEDED
    assert set((await collect(desk, "a")).delivered) == {"a"}, "with room again it is simply fetched"
    assert sandbox.billed == 2


@pytest.mark.parametrize("in_the_way", ["videos", ".staging"])
async def test_output_that_cannot_be_written_leaves_the_attempt_collectable(
    desk: Desk, production: Producer, tmp_path: Path, sandbox: Sandbox, in_the_way: str
) -> None:
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    obstacle = tmp_path / "out" / in_the_way
    if obstacle.is_dir():
        obstacle.rmdir()
    obstacle.write_text("a file where a folder should be")
    collected = await collect(desk, "a")
    assert "a part of its path is a file" in collected.failed["a"][1]
    attempt = latest(desk.ledger, "a")
    assert (attempt.state, attempt.error_kind, attempt.owner) == (AttemptState.SUCCEEDED, "store", None)
    obstacle.unlink()
    assert set((await collect(desk, "a")).delivered) == {"a"}
    assert sandbox.billed == 1


async def test_wrong_video_that_cannot_be_stored_leaves_the_attempt_collectable(
    desk: Desk, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="[sandbox:wrong-size] a fox"))
    await submit(desk, "a")
    (tmp_path / "out" / "videos").write_text("a file where a folder should be")
    collected = await collect(desk, "a")
    assert "a part of its path is a file" in collected.failed["a"][1]
    assert latest(desk.ledger, "a").state is AttemptState.SUCCEEDED


async def test_outage_while_downloading_leaves_the_attempt_collectable(
    office: Office, desk: Desk, production: Producer, sandbox: Sandbox
) -> None:
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    async with asyncio.timeout(10):
        while latest(desk.ledger, "a").state is not AttemptState.SUCCEEDED:
            await sweep(desk, desk.ledger.attempts.due(10), budget_s=5)
            await asyncio.sleep(0.05)
    sandbox.change(outage="503")
    collected = await collect(desk, "a")
    assert "can still be fetched" in collected.failed["a"][1]
    sandbox.change(outage="none")
    assert set((await collect(desk, "a")).delivered) == {"a"}
