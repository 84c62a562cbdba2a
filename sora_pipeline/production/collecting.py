"""Brings rendered videos home: download, check by decoding, store, and only then delivered."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.batches import GENERATIONS, VIDEOS
from sora_pipeline.media.decoders import in_decoder
from sora_pipeline.media.frame_pictures import FramePictures
from sora_pipeline.media.probe import VideoError, VideoErrorKind, most_bytes, verify_video
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.downloading import Download, DownloadError
from sora_pipeline.production.polling import poll_one
from sora_pipeline.production.storing import store_video
from sora_pipeline.production.submitted import submitted_clip
from sora_pipeline.production.unexpected import UNEXPECTED, described
from sora_pipeline.production.watching import polling
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.video import VideoFacts

CONCURRENT_DOWNLOADS = 8
DOWNLOAD_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
LOOK_S = 0.5
"""Seconds between two looks for what others have found rendered."""
LOOK_AGAIN_S = 2.0
"""Seconds between two looks at everything that is left."""
KEPT_TIMES = 4
LEFT = "the run that was to fetch it has ended; the poll sensor has another one do it"
_DAMAGED = (VideoErrorKind.NOT_A_VIDEO, VideoErrorKind.TRUNCATED)


@dataclass(slots=True)
class Collected:
    """How each clip that a run was asked to bring home ended up.

    Attributes:
        delivered: By clip key: those whose checked video is stored, with the attempt that made it.
        posters: JPEG bytes of a frame, for clips collected by this run.
        failed: Clips that have none, with the attempt and the sentence for people.
        waiting: Clips that may still come (no attempt, another run has it), with the reason.
        unshown: Keys of ``delivered`` of which Dagster was not told yet: whoever has told it takes them out.
    """

    delivered: dict[str, Attempt] = field(default_factory=dict)
    posters: dict[str, bytes] = field(default_factory=dict)
    failed: dict[str, tuple[Attempt, str]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    unshown: dict[str, None] = field(default_factory=dict)


async def collect_videos(
    context: RunContext,
    keys: Sequence[str],
    *,
    resume_timed_out: bool,
    batch_id: str | None = None,
    collected: Collected | None = None,
    settled: Callable[[str], None] = lambda key: None,
) -> Collected:
    """Bring every clip to a stored video or a reason why not, each as soon as it is rendered.

    Args:
        context: What the run works with.
        keys: Clips to bring home.
        resume_timed_out: Whether to wait once more for predictions past their deadline: a person asked.
        batch_id: The batch that this run owns. Where no person asked, it works on it for as long as something may come: clips
            that are still to be submitted are waited for too, and it leaves when nothing has come for ``idle_s``.
        collected: Where it is noted how each ends.
        settled: Called with the key of each clip as soon as it is known what becomes of it in this run.
    """
    collected = Collected() if collected is None else collected
    collector = _Collector(context, keys, resume_timed_out, batch_id, collected, settled)
    await collector.begin()
    async with context.alive(), polling(context, collector.woken):
        await collector.go_on()
    return collected


def _urgency(standing: ClipStanding) -> tuple[bool, float]:
    """Outputs that expire first go first."""
    expires = standing.latest.result.expires_at if standing.latest else None
    return expires is None, expires.timestamp() if expires else 0.0


class _Collector:
    """What one run has still to fetch."""

    def __init__(
        self,
        context: RunContext,
        keys: Sequence[str],
        resume_timed_out: bool,
        batch_id: str | None,
        collected: Collected,
        settled: Callable[[str], None],
    ) -> None:
        self.context = context
        self.collected = collected
        self.limiter = asyncio.Semaphore(CONCURRENT_DOWNLOADS)
        self.woken = asyncio.Event()
        self._undecided = dict.fromkeys(keys)
        self._resume_timed_out = resume_timed_out
        self._batch_id = batch_id
        self._goes_on = batch_id is not None and not resume_timed_out
        self._settled = settled
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._cleared: set[str] = set()
        self._idle_since = self._looked_at = time.monotonic()

    async def begin(self) -> None:
        """Take the batch over."""
        if self._batch_id is not None:
            self._batch_id = await asyncio.to_thread(
                self.context.ledger.batches.begin,
                self._batch_id,
                self.context.owner,
                pipeline=self.context.pipeline,
                account=self.context.account.name,
                asset=VIDEOS,
                keys=list(self._undecided),
                lease_s=self.context.lease_s,
            )

    async def go_on(self) -> None:
        """Fetch whatever is rendered, until all is settled or the run is to leave."""
        await self._look_at(list(self._undecided))
        while self._undecided:
            await self._wait()
            await self._look_at(await asyncio.to_thread(self._newly_ended))
            if time.monotonic() - self._looked_at > LOOK_AGAIN_S:
                await self._look_again()
            if self._has_to_leave():
                break
        if self._fetching:
            await asyncio.wait(self._fetching.values())
        for key in list(self._undecided):
            self._wait_for_later(key, LEFT)

    def _newly_ended(self) -> list[str]:
        ended = self.context.ledger.attempts.ended_ids(self.context.pipeline)
        return [key for key in ended.values() if key in self._undecided and key not in self._fetching]

    def _has_to_leave(self) -> bool:
        if self._fetching:
            self._idle_since = time.monotonic()
        idle_s = time.monotonic() - self._idle_since
        tired = self._goes_on and idle_s > self.context.settings.idle_s
        return tired or self.context.leave.is_set()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self.woken.wait()
        self.woken.clear()

    async def _look_again(self) -> None:
        """Show that this run lives, and look at everything: others bring clips on as well."""
        self._looked_at = time.monotonic()
        if self._batch_id is not None:
            keys = [*self._undecided, *self.collected.unshown]
            await asyncio.to_thread(self.context.sign_batch, self._batch_id, keys=keys)
        left = list(self._undecided)  # whoever fetches takes from it meanwhile
        standings = await self._look_at([key for key in left if key not in self._fetching])
        if self._goes_on and not self._fetching and self._undecided:
            coming = any(standing.latest and standing.latest.live for standing in standings.values())
            if not coming and not await asyncio.to_thread(self._is_being_submitted):
                self.context.leave.set()

    def _is_being_submitted(self) -> bool:
        """Whether a run is about to submit some of what is left."""
        now, batches = self.context.ledger.now(), self.context.ledger.batches
        return any(
            batch.asset == GENERATIONS
            and batch.is_held(now)
            and not self._undecided.keys().isdisjoint(batch.keys)
            for batch in batches.unfinished(self.context.pipeline)
        )

    async def _look_at(self, keys: Sequence[str]) -> Mapping[str, ClipStanding]:
        """Do what each clip asks for; returns how far they are."""
        if not keys:
            return {}
        standings = await asyncio.to_thread(self.context.ledger.clips.standings, keys)
        for key in keys:
            if key not in standings:
                self._wait_for_later(key, "no manifest that was read names this clip")
        for standing in sorted(standings.values(), key=_urgency):
            try:
                await self._bring(standing)
            except Exception as error:  # the other clips are fetched all the same
                await asyncio.to_thread(self._note_unexpected, standing, error)
        return standings

    async def _bring(self, standing: ClipStanding) -> None:
        """Begin to fetch a clip that is rendered, or note what has become of it."""
        context, key, latest = self.context, standing.key, standing.latest
        if standing.delivered and not (latest and latest.live):
            self._deliver(key, standing.delivered)
            return
        if latest is None:
            if not self._goes_on:
                self._wait_for_later(key, "it has no attempt yet")
            return
        match latest.state:
            case AttemptState.TIMED_OUT if self._resume_timed_out and context.reaches(latest):
                await asyncio.to_thread(
                    context.ledger.attempts.resume, latest.attempt_id, context.settings.generation_timeout_s
                )
            case AttemptState.SUCCEEDED:
                self._begin_to_fetch(standing, latest)
            case AttemptState.COLLECTED:
                await asyncio.to_thread(self._note_delivered, key, latest)
            case AttemptState.FAILED if self._goes_on and latest.submission.accepted_at is None:
                self._wait_for_later(
                    key, f"it was not submitted: {latest.why}"
                )  # and red where that is shown
            case AttemptState.FAILED | AttemptState.TIMED_OUT:
                # Of a batch, another attempt may follow by itself.
                if not self._goes_on or not standing.pending(context.settings.max_attempts):
                    self._fail(key, latest, latest.why)
            case AttemptState.IN_FLIGHT if not context.reaches(latest):
                self._wait_for_later(
                    key,
                    f"its prediction is at the account {latest.account.name}, which is not configured now",
                )
            case AttemptState.RESERVED | AttemptState.SUBMITTING if self._goes_on:
                pass
            case AttemptState.IN_FLIGHT:
                pass
            case _:
                self._wait_for_later(key, f"its attempt is {latest.state}")

    def _begin_to_fetch(self, standing: ClipStanding, attempt: Attempt) -> None:
        if standing.key not in self._fetching:
            fetching = asyncio.create_task(self._fetch_to_the_end(standing, attempt))
            self._fetching[standing.key] = fetching

    async def _fetch_to_the_end(self, standing: ClipStanding, attempt: Attempt) -> None:
        """Fetch one clip. Where another run has it, or its attempt has moved on, it is looked at again."""
        try:
            if standing.output_uri not in self._cleared:
                self._cleared.add(standing.output_uri)
                with suppress(StoreError):  # who fetches into it will hear of it
                    await asyncio.to_thread(OutputStore(standing.output_uri).clear_staging)
            if not await self._fetch(standing, attempt):
                newest = await asyncio.to_thread(self.context.ledger.attempts.get, attempt.attempt_id)
                if newest.state is AttemptState.COLLECTED:
                    await asyncio.to_thread(self._note_delivered, standing.key, newest)
        except Exception as error:  # of an odd file, for one: the other clips are fetched all the same
            await asyncio.to_thread(self._note_unexpected, standing, error)
        finally:
            del self._fetching[standing.key]
            self.woken.set()

    def _note_unexpected(self, standing: ClipStanding, error: Exception) -> None:
        """What nobody foresaw says nothing about the video: it stays fetchable."""
        sentence = described(error)
        self.context.say(f"{standing.key}: {sentence}")
        if standing.latest is None:
            self._wait_for_later(standing.key, sentence)
            return
        attempts = self.context.ledger.attempts
        attempts.note_problem(standing.latest.attempt_id, UNEXPECTED, sentence)
        self._fail(standing.key, attempts.get(standing.latest.attempt_id), f"{UNEXPECTED}: {sentence}")

    def _deliver(self, key: str, attempt: Attempt) -> None:
        self.collected.delivered[key] = attempt
        self.collected.unshown[key] = None
        self._note_settled(key)

    def _fail(self, key: str, attempt: Attempt, why: str) -> None:
        self.collected.failed[key] = attempt, why
        self._note_settled(key)

    def _wait_for_later(self, key: str, why: str) -> None:
        self.collected.waiting[key] = why
        self._note_settled(key)

    def _note_settled(self, key: str) -> None:
        self._undecided.pop(key, None)
        self._idle_since = time.monotonic()
        self._settled(key)

    def _note_delivered(self, key: str, attempt: Attempt) -> None:
        """A video is stored; its clip is delivered where the row still asks for just that."""
        standing = self.context.ledger.clips.standings([key])[key]
        if standing.clip.fingerprint == attempt.fingerprint:
            self._deliver(key, attempt)
            return
        stored = attempt.result.video
        kept = f" (kept as {stored.file_name})" if stored else ""
        self._wait_for_later(key, f"its row has changed since this video was submitted{kept}")

    async def _fetch(self, standing: ClipStanding, attempt: Attempt) -> bool:
        """Download, check and store one rendered video, as the only one who does."""
        context, clip = self.context, submitted_clip(standing.clip, attempt)
        claim = context.ledger.attempts.claim_collect
        if not await asyncio.to_thread(claim, attempt.attempt_id, context.owner, context.lease_s):
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
            return await asyncio.to_thread(self._give_up, clip, attempt, problem)
        else:
            return False
        finally:
            release = context.ledger.attempts.release_collect
            await asyncio.to_thread(release, attempt.attempt_id, context.owner)

    async def _bring_home(self, store: OutputStore, clip: Clip, attempt: Attempt, staged: Path) -> None:
        """Deliver the video, or keep one that is not what was asked for: it is paid."""
        attempts, run_id = self.context.ledger.attempts, self.context.owner
        problem: VideoError | None = None
        pictures = FramePictures()
        try:
            facts = await self._download_whole(store, clip, attempt, staged, pictures)
        except VideoError as other_video:
            if other_video.video is None:
                raise
            problem, facts = other_video, other_video.video
        video, jpeg = await asyncio.to_thread(
            store_video, store, clip, attempt, staged, facts, pictures, self.context.say
        )
        if jpeg is not None:
            self.collected.posters[attempt.clip_key] = jpeg
        if problem is None:
            await asyncio.to_thread(attempts.collect, attempt.attempt_id, video, run_id=run_id)
            return
        message = f"{problem.message.rstrip('. ')}; the file is kept as {video.file_name}"
        await asyncio.to_thread(
            attempts.keep_rejected,
            attempt.attempt_id,
            video,
            run_id=run_id,
            kind=problem.kind,
            message=message,
        )

    async def _download_whole(
        self, store: OutputStore, clip: Clip, attempt: Attempt, staged: Path, pictures: FramePictures
    ) -> VideoFacts:
        """Download until the file decodes to its end: a damaged copy says nothing about the original."""
        # Some times what is plausible: a paid file that is only too large is kept, and not refused on its way.
        most = KEPT_TIMES * most_bytes(clip.size, clip.duration)
        download = Download(self.context.provider, staged, most)
        for tries_left in reversed(range(len(DOWNLOAD_WAITS_S) + 1)):
            try:
                await download.fetch(attempt.result.output_url or "")
                return await in_decoder(
                    verify_video, staged, size=clip.size, duration=clip.duration, watch=pictures.watch
                )
            except (DownloadError, VideoError) as problem:
                lasting = isinstance(problem, VideoError) and problem.kind not in _DAMAGED
                if lasting or not tries_left:
                    raise
                if isinstance(problem, VideoError):
                    download.start_over()
                    pictures.start_over()
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
        self._fail(attempt.clip_key, attempt, f"{kind}: {sentence}; the video can still be fetched")
        return True
