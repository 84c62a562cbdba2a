"""Brings accepted jobs to their end: has their videos rendered, waits for their time, notes the outcome."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from sora_pipeline.sandbox.jobs import Job
from sora_pipeline.sandbox.rendering.pool import RenderError, RenderPool
from sora_pipeline.sandbox.rendering.scene import Brief
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.sandbox.store import JobStore

log = logging.getLogger(__name__)


class RenderQueue:
    """Runs inside the server's event loop.

    Args:
        settings: How videos are made.
        store: Told when a job ends.
        pool: Where rendering is done.
    """

    def __init__(self, settings: SandboxSettings, store: JobStore, pool: RenderPool) -> None:
        self._settings = settings
        self._store = store
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()
        self._shared: dict[str, asyncio.Task[None]] = {}
        self.outputs = settings.state_dir / "outputs"
        self.images = settings.state_dir / "images"
        self._shared_videos = settings.state_dir / "shared"
        for folder in (self.outputs, self.images, self._shared_videos):
            folder.mkdir(parents=True, exist_ok=True)

    def resume(self, jobs: Iterable[Job]) -> None:
        """Take up what an earlier server left behind."""
        for job in jobs:
            job.has_file = self.path(job).exists()
            if job.ended_at is None:
                self.begin(job, shared=self._settings.shared_renders)

    def begin(self, job: Job, *, shared: bool) -> None:
        """Work towards this job's end.

        Args:
            job: Accepted, and on the bill.
            shared: Whether any video of its size and duration will do.
        """
        if job.needs_render:
            self._keep(asyncio.create_task(self._make(job, shared=shared)))
        self._wait(job)

    def path(self, job: Job) -> Path:
        """Where this job's video lies, once it is rendered."""
        return self.outputs / job.output_name

    def save_image(self, content: bytes, sha256: str) -> None:
        """Save an input image, so that a restarted server can finish the render."""
        target = self.images / sha256
        if not target.exists():
            part = target.with_name(f"{sha256}.{time.monotonic_ns()}.part")
            part.write_bytes(content)
            part.replace(target)

    async def clear(self) -> None:
        """Stop all work and delete all files but those that jobs share."""
        await self.stop()
        for folder in (self.outputs, self.images):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(exist_ok=True)

    async def stop(self) -> None:
        """Stop all work; it can be resumed."""
        tasks = [*self._tasks, *self._shared.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._shared.clear()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, job: Job, *, shared: bool) -> None:
        try:
            if shared:
                await self._share(job)
            else:
                await self._pool.render(self._brief(job, self.path(job)))
        except (RenderError, OSError) as error:
            log.error("job %s: %s", job.id, error)
            job.fail(time.time(), "Internal error while rendering")
            self._store.ended(job)
            return
        job.has_file = True
        self._settle(job)

    async def _share(self, job: Job) -> None:
        """Give the job a link to a video that all jobs of its size and duration share."""
        video = self._shared_videos / f"{job.render_size}-{job.duration}-{self._settings.fps}.mp4"
        if not video.exists():
            if video.name not in self._shared:
                task = asyncio.create_task(self._pool.render(self._brief(job, video)))
                self._shared[video.name] = task
            await asyncio.shield(self._shared[video.name])
        if not self.path(job).exists():
            os.link(video, self.path(job))

    def _brief(self, job: Job, out: Path) -> Brief:
        size = job.render_size
        return Brief(
            prompt=job.prompt,
            caption=f"{job.model_returned} · {job.size} · {job.duration} s · sandbox {job.id[:12]}",
            seed=str(self._settings.seed),
            width=size.width,
            height=size.height,
            duration=job.duration,
            fps=self._settings.fps,
            image=str(self.images / job.image_sha256) if job.image_sha256 else None,
            out=str(out),
        )

    def _wait(self, job: Job) -> None:
        """Settle the job when its render time is over; the loop's clock may be ahead of the wall's."""
        left = job.ready_at - time.time()
        if left > 0:
            asyncio.get_running_loop().call_later(left + 0.001, self._wait, job)
        else:
            self._settle(job)

    def _settle(self, job: Job) -> None:
        if self._store.get(job.id) is job and job.settle(time.time()):
            self._store.ended(job)
