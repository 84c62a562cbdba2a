"""Brings rendered videos home: download, check by decoding, store, and only then delivered."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.clocks import is_over
from sora_pipeline.media.decoders import in_decoder
from sora_pipeline.media.poster import Poster
from sora_pipeline.media.probe import VideoError, VideoErrorKind, most_bytes, verify_video
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.downloading import Download, DownloadError
from sora_pipeline.production.polling import poll_one
from sora_pipeline.production.storing import store_video
from sora_pipeline.production.submitted import submitted_clip
from sora_pipeline.production.unexpected import UNEXPECTED, described, to_the_end
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.video import VideoFacts

CONCURRENT_DOWNLOADS = 8
DOWNLOAD_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
WAIT_S = 1.0
KEPT_TIMES = 4
_DAMAGED = (VideoErrorKind.NOT_A_VIDEO, VideoErrorKind.TRUNCATED)


@dataclass(slots=True)
class Collected:
    """How each clip that a run was asked to bring home ended up.

    Attributes:
        delivered: By clip key: those whose checked video is stored, with the attempt that made it.
        posters: JPEG bytes of a frame, for clips collected by this run.
        failed: Clips that have none, with the attempt and the sentence for people.
        waiting: Clips that may still come (no attempt, another run has it), with the reason.
    """

    delivered: dict[str, Attempt] = field(default_factory=dict)
    posters: dict[str, bytes] = field(default_factory=dict)
    failed: dict[str, tuple[Attempt, str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


async def collect_videos(context: RunContext, keys: Sequence[str], *, resume_timed_out: bool) -> Collected:
    """Bring every clip to a stored video or a reason why not; waits for those still rendering.

    Args:
        context: What the run works with.
        keys: Clips to bring home.
        resume_timed_out: Whether to wait once more for predictions past their deadline: a person asked.
    """
    collected = Collected()
    collector = _Collector(context, collected, asyncio.Semaphore(CONCURRENT_DOWNLOADS), resume_timed_out)
    standings = await asyncio.to_thread(context.ledger.clips.standings, keys)
    for output_uri in {standing.output_uri for standing in standings.values()}:
        with suppress(StoreError):  # who fetches into it will hear of it
            await asyncio.to_thread(OutputStore(output_uri).clear_staging)
    async with context.alive():
        await to_the_end(collector.bring(standing) for standing in sorted(standings.values(), key=_urgency))
    for key in keys:
        if key not in standings:
            collected.waiting[key] = "no manifest that was read names this clip"
    return collected


def _urgency(standing: ClipStanding) -> tuple[bool, float]:
    """Outputs that expire first go first."""
    expires = standing.latest.result.expires_at if standing.latest else None
    return expires is None, expires.timestamp() if expires else 0.0


@dataclass(frozen=True, slots=True)
class _Collector:
    context: RunContext
    collected: Collected
    limiter: asyncio.Semaphore
    resume_timed_out: bool

    async def bring(self, standing: ClipStanding) -> None:
        """Wait for one clip's prediction to end, and fetch it."""
        try:
            await self._bring(standing)
        except Exception as error:  # of an odd file, for one: the other clips are fetched all the same
            await asyncio.to_thread(self._note_unexpected, standing, error)

    def _note_unexpected(self, standing: ClipStanding, error: Exception) -> None:
        """What nobody foresaw says nothing about the video: it stays fetchable."""
        sentence = described(error)
        self.context.say(f"{standing.key}: {sentence}")
        if standing.latest is None:
            self.collected.waiting[standing.key] = sentence
            return
        attempts = self.context.ledger.attempts
        attempts.note_problem(standing.latest.attempt_id, UNEXPECTED, sentence)
        attempt = attempts.get(standing.latest.attempt_id)
        self.collected.failed[standing.key] = attempt, f"{UNEXPECTED}: {sentence}"

    async def _bring(self, standing: ClipStanding) -> None:
        key, latest = standing.key, standing.latest
        if standing.delivered and not (latest and latest.live):
            self.collected.delivered[key] = standing.delivered
            return
        if latest is None:
            self.collected.waiting[key] = "it has no attempt yet"
            return
        if latest.state is AttemptState.TIMED_OUT and self.resume_timed_out and self.context.reaches(latest):
            self.context.ledger.attempts.resume(latest.attempt_id, self.context.settings.generation_timeout_s)
        while not await self._step(standing, latest.attempt_id):  # noqa: ASYNC110 - another process may move it on
            await asyncio.sleep(WAIT_S)

    async def _step(self, standing: ClipStanding, attempt_id: int) -> bool:
        """Do what the attempt's state asks for; whether that was the end of it."""
        context, key = self.context, standing.key
        attempt = await asyncio.to_thread(context.ledger.attempts.get, attempt_id)
        match attempt.state:
            case AttemptState.COLLECTED:
                await asyncio.to_thread(self._note_delivered, key, attempt)
            case AttemptState.FAILED | AttemptState.TIMED_OUT:
                self.collected.failed[key] = attempt, attempt.why
            case AttemptState.SUCCEEDED:
                return await self._fetch(standing, attempt)
            case AttemptState.IN_FLIGHT if not context.reaches(attempt):
                self.collected.waiting[key] = (
                    f"its prediction is at the account {attempt.account.name}, which is not configured now"
                )
            case AttemptState.IN_FLIGHT:
                if attempt.polling.next_at and is_over(attempt.polling.next_at, context.ledger.now()):
                    await poll_one(context, attempt)
                return False
            case _:
                self.collected.waiting[key] = f"its attempt is {attempt.state}"
        return True

    def _note_delivered(self, key: str, attempt: Attempt) -> None:
        """A video is stored; its clip is delivered where the row still asks for just that."""
        standing = self.context.ledger.clips.standings([key])[key]
        if standing.clip.fingerprint == attempt.fingerprint:
            self.collected.delivered[key] = attempt
            return
        stored = attempt.result.video
        kept = f" (kept as {stored.file_name})" if stored else ""
        self.collected.waiting[key] = f"its row has changed since this video was submitted{kept}"

    async def _fetch(self, standing: ClipStanding, attempt: Attempt) -> bool:
        """Download, check and store one rendered video, as the only one who does."""
        context, clip = self.context, submitted_clip(standing.clip, attempt)
        if not context.ledger.attempts.claim_collect(attempt.attempt_id, context.owner, context.lease_s):
            return False
        try:
            store = OutputStore(standing.output_uri)
            staged = store.staging_dir() / f"{attempt.attempt_id}-{clip.clip_id}-{context.owner[:8]}.mp4"
            for left_behind in set(staged.parent.glob(f"{attempt.attempt_id}-*")) - {staged}:
                left_behind.unlink(missing_ok=True)  # by a run that was killed: there is one owner at a time
            try:
                async with self.limiter:
                    await self._bring_home(store, clip, attempt, staged)
            finally:
                staged.unlink(missing_ok=True)
        except (DownloadError, VideoError, StoreError) as problem:
            return self._give_up(clip, attempt, problem)
        else:
            return False
        finally:
            context.ledger.attempts.release_collect(attempt.attempt_id, context.owner)

    async def _bring_home(self, store: OutputStore, clip: Clip, attempt: Attempt, staged: Path) -> None:
        """Deliver the video, or keep one that is not what was asked for: it is paid."""
        attempts, run_id = self.context.ledger.attempts, self.context.owner
        problem: VideoError | None = None
        poster = Poster()
        try:
            facts = await self._download_whole(store, clip, attempt, staged, poster)
        except VideoError as other_video:
            if other_video.video is None:
                raise
            problem, facts = other_video, other_video.video
        video, jpeg = await asyncio.to_thread(
            store_video, store, clip, attempt, staged, facts, poster, self.context.say
        )
        if problem is None:
            attempts.collect(attempt.attempt_id, video, run_id=run_id)
        else:
            message = f"{problem.message}; the file is kept as {video.file_name}"
            attempts.keep_rejected(
                attempt.attempt_id, video, run_id=run_id, kind=problem.kind, message=message
            )
        if jpeg is not None:
            self.collected.posters[attempt.clip_key] = jpeg

    async def _download_whole(
        self, store: OutputStore, clip: Clip, attempt: Attempt, staged: Path, poster: Poster
    ) -> VideoFacts:
        """Download until the file decodes to its end: a damaged copy says nothing about the original."""
        # Some times what is plausible: a paid file that is only too large is kept, and not refused on its way.
        most = KEPT_TIMES * most_bytes(clip.size, clip.duration)
        download = Download(self.context.provider, staged, most)
        for tries_left in reversed(range(len(DOWNLOAD_WAITS_S) + 1)):
            try:
                await download.fetch(attempt.result.output_url or "")
                return await in_decoder(
                    verify_video, staged, size=clip.size, duration=clip.duration, watch=poster.watch
                )
            except (DownloadError, VideoError) as problem:
                lasting = isinstance(problem, VideoError) and problem.kind not in _DAMAGED
                if lasting or not tries_left:
                    raise
                if isinstance(problem, VideoError):
                    download.start_over()
                    poster.start_over()
                self.context.say(f"{clip.clip_id}: {problem.message}; downloading again")
            except OSError as error:  # of the staged file: a full disk, for one
                raise store.problem("be written to", error) from error
            await asyncio.sleep(DOWNLOAD_WAITS_S[-tries_left])
            # Another account's link may be open to anybody; its prediction is not ours to ask for.
            if self.context.reaches(attempt):
                await poll_one(self.context, attempt)  # a fresh URL, where the old one has expired
            attempt = await asyncio.to_thread(self.context.ledger.attempts.get, attempt.attempt_id)
            if attempt.state is not AttemptState.SUCCEEDED:
                raise DownloadError(attempt.why)
        raise AssertionError("the last try returns or raises")

    def _give_up(
        self, clip: Clip, attempt: Attempt, problem: DownloadError | VideoError | StoreError
    ) -> bool:
        """Record why there is no delivered video; what was paid for stays fetchable unless a poll says it is lost."""
        attempts = self.context.ledger.attempts
        if attempts.get(attempt.attempt_id).state is not AttemptState.SUCCEEDED:
            return False
        kind = problem.kind if isinstance(problem, VideoError) else "download"
        if isinstance(problem, StoreError):
            kind = "store"
        sentence = self.context.explained(problem)
        attempts.note_problem(attempt.attempt_id, kind, sentence)
        self.collected.failed[attempt.clip_key] = (
            attempt,
            f"{kind}: {sentence}; the video can still be fetched",
        )
        return True
