"""Brings rendered videos home: download, check by decoding, store, and only then delivered."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.clocks import is_over
from sora_pipeline.media.probe import VideoFacts, VideoProblem, VideoProblemKind, verify_video
from sora_pipeline.production.context import Desk
from sora_pipeline.production.downloading import Download, DownloadProblem
from sora_pipeline.production.polling import poll_one
from sora_pipeline.production.storing import store_video
from sora_pipeline.store import OutputStore, StoreProblem

CONCURRENT_DOWNLOADS = 8
DOWNLOAD_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
WAIT_S = 1.0
_DAMAGED = (VideoProblemKind.NOT_A_VIDEO, VideoProblemKind.TRUNCATED)


@dataclass(slots=True)
class Collected:
    """How each clip that a run was asked to bring home ended up.

    Attributes:
        delivered: Clips whose checked video is stored, with the attempt that made it.
        posters: JPEG bytes of a frame, for clips collected by this run.
        failed: Clips that have none, with the attempt and the sentence for people.
        waiting: Clips that may still come (no attempt, another run has it), with the reason.
    """

    delivered: dict[str, Attempt] = field(default_factory=dict)
    posters: dict[str, bytes] = field(default_factory=dict)
    failed: dict[str, tuple[Attempt, str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


async def collect_videos(desk: Desk, clip_ids: Sequence[str], *, resume_timed_out: bool) -> Collected:
    """Bring every clip to a stored video or a reason why not; waits for those still rendering.

    Args:
        desk: The tools at hand.
        clip_ids: Clips to bring home.
        resume_timed_out: Whether to wait once more for predictions past their deadline: a person asked.
    """
    collected = Collected()
    collector = _Collector(desk, collected, asyncio.Semaphore(CONCURRENT_DOWNLOADS), resume_timed_out)
    standings = await asyncio.to_thread(desk.ledger.clips.standings, clip_ids)
    for output_uri in {standing.output_uri for standing in standings.values()}:
        with suppress(StoreProblem):  # who fetches into it will hear of it
            await asyncio.to_thread(OutputStore(output_uri).clear_staging)
    async with desk.alive(), asyncio.TaskGroup() as group:
        for clip_id in sorted(standings, key=lambda each: _urgency(standings[each])):
            group.create_task(collector.bring(standings[clip_id]))
    for clip_id in clip_ids:
        if clip_id not in standings:
            collected.waiting[clip_id] = "no manifest that was read names this clip"
    return collected


def _urgency(standing: ClipStanding) -> tuple[bool, float]:
    """Outputs that expire first go first."""
    expires = standing.latest.output_expires_at if standing.latest else None
    return expires is None, expires.timestamp() if expires else 0.0


@dataclass(frozen=True, slots=True)
class _Collector:
    desk: Desk
    collected: Collected
    crowd: asyncio.Semaphore
    resume_timed_out: bool

    async def bring(self, standing: ClipStanding) -> None:
        """Wait for one clip's prediction to end, and fetch it."""
        clip_id, latest = standing.clip.clip_id, standing.latest
        if standing.delivered and not (latest and latest.live):
            self.collected.delivered[clip_id] = standing.delivered
            return
        if latest is None:
            self.collected.waiting[clip_id] = "it has no attempt yet"
            return
        if latest.state is AttemptState.TIMED_OUT and self.resume_timed_out:
            self.desk.ledger.attempts.resume(latest.attempt_id, self.desk.settings.generation_timeout_s)
        while not await self._step(standing, latest.attempt_id):  # noqa: ASYNC110 - another process may move it on
            await asyncio.sleep(WAIT_S)

    async def _step(self, standing: ClipStanding, attempt_id: int) -> bool:
        """Do what the attempt's state asks for; whether that was the end of it."""
        desk, clip_id = self.desk, standing.clip.clip_id
        attempt = await asyncio.to_thread(desk.ledger.attempts.get, attempt_id)
        match attempt.state:
            case AttemptState.COLLECTED:
                self.collected.delivered[clip_id] = attempt
            case AttemptState.FAILED | AttemptState.TIMED_OUT:
                self.collected.failed[clip_id] = attempt, f"{attempt.error_kind}: {attempt.error_message}"
            case AttemptState.SUCCEEDED:
                return await self._fetch(standing, attempt)
            case AttemptState.IN_FLIGHT:
                if attempt.next_poll_at and is_over(attempt.next_poll_at, desk.ledger.now()):
                    await poll_one(desk, attempt)
                return False
            case _:
                self.collected.waiting[clip_id] = f"its attempt is {attempt.state}"
        return True

    async def _fetch(self, standing: ClipStanding, attempt: Attempt) -> bool:
        """Download, check and store one rendered video, as the only one who does."""
        desk, clip = self.desk, standing.clip
        if not desk.ledger.attempts.claim_collect(attempt.attempt_id, desk.owner, desk.lease_s):
            return False
        try:
            store = OutputStore(standing.output_uri)
            staged = store.staging_dir() / f"{attempt.attempt_id}-{clip.clip_id}-{desk.owner[:8]}.mp4"
            for left_behind in set(staged.parent.glob(f"{attempt.attempt_id}-*")) - {staged}:
                left_behind.unlink(missing_ok=True)  # by a run that was killed: there is one owner at a time
            try:
                async with self.crowd:
                    await self._bring_home(store, clip, attempt, staged)
            finally:
                staged.unlink(missing_ok=True)
        except (DownloadProblem, VideoProblem, StoreProblem) as problem:
            return self._give_up(clip, attempt, problem)
        else:
            return False
        finally:
            desk.ledger.attempts.release_collect(attempt.attempt_id, desk.owner)

    async def _bring_home(self, store: OutputStore, clip: Clip, attempt: Attempt, staged: Path) -> None:
        """Deliver the video, or keep one that is not what was asked for: it is paid."""
        attempts, run_id = self.desk.ledger.attempts, self.desk.owner
        problem: VideoProblem | None = None
        try:
            facts = await self._download_whole(store, clip, attempt, staged)
        except VideoProblem as other_video:
            if other_video.facts is None:
                raise
            problem, facts = other_video, other_video.facts
        video, poster = await asyncio.to_thread(store_video, store, clip, attempt, staged, facts)
        if problem is None:
            attempts.collect(attempt.attempt_id, video, run_id=run_id)
        else:
            message = f"{problem.message}; the file is kept as {video.file_name}"
            attempts.keep_rejected(
                attempt.attempt_id, video, run_id=run_id, kind=problem.kind, message=message
            )
        self.collected.posters[clip.clip_id] = poster

    async def _download_whole(
        self, store: OutputStore, clip: Clip, attempt: Attempt, staged: Path
    ) -> VideoFacts:
        """Download until the file decodes to its end: a damaged copy says nothing about the original."""
        download = Download(self.desk.provider, staged)
        for tries_left in reversed(range(len(DOWNLOAD_WAITS_S) + 1)):
            try:
                await download.fetch(attempt.output_url or "")
                return await asyncio.to_thread(verify_video, staged, size=clip.size, duration=clip.duration)
            except (DownloadProblem, VideoProblem) as problem:
                lasting = isinstance(problem, VideoProblem) and problem.kind not in _DAMAGED
                if lasting or not tries_left:
                    raise
                if isinstance(problem, VideoProblem):
                    download.start_over()
                self.desk.say(f"{clip.clip_id}: {problem.message}; downloading again")
            except OSError as error:  # of the staged file: a full disk, for one
                raise store.problem("be written to", error) from error
            await asyncio.sleep(DOWNLOAD_WAITS_S[-tries_left])
            await poll_one(self.desk, attempt)  # a fresh URL, where the old one has expired
            attempt = await asyncio.to_thread(self.desk.ledger.attempts.get, attempt.attempt_id)
            if attempt.state is not AttemptState.SUCCEEDED:
                raise DownloadProblem(f"{attempt.error_kind}: {attempt.error_message}")
        raise AssertionError("the last try returns or raises")

    def _give_up(
        self, clip: Clip, attempt: Attempt, problem: DownloadProblem | VideoProblem | StoreProblem
    ) -> bool:
        """Record why there is no delivered video; what was paid for stays fetchable unless a poll says it is lost."""
        attempts = self.desk.ledger.attempts
        if attempts.get(attempt.attempt_id).state is not AttemptState.SUCCEEDED:
            return False
        kind = problem.kind if isinstance(problem, VideoProblem) else "download"
        if isinstance(problem, StoreProblem):
            kind = "store"
        attempts.note_problem(attempt.attempt_id, kind, str(problem))
        self.collected.failed[clip.clip_id] = attempt, f"{kind}: {problem}; the video can still be fetched"
        return True
