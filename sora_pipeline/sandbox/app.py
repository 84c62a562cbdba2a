"""Puts the sandbox together: job database, store, render queue, emulator and the routes that speak for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from sora_pipeline.sandbox.connections import ConnectionMiddleware, DropConnection, cut
from sora_pipeline.sandbox.control import ControlRoutes
from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.formats.gptproto import GptprotoRoutes
from sora_pipeline.sandbox.formats.openai_videos import OpenAIVideosRoutes
from sora_pipeline.sandbox.formats.unified import UnifiedRoutes
from sora_pipeline.sandbox.job_database import JobDatabase
from sora_pipeline.sandbox.outputs import OutputRoutes
from sora_pipeline.sandbox.page import PageRoutes
from sora_pipeline.sandbox.render_queue import RenderQueue
from sora_pipeline.sandbox.rendering.pool import RenderPool
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.sandbox.store import JobStore


def build(settings: SandboxSettings) -> tuple[ConnectionMiddleware, Emulator]:
    """The application and what steers it; jobs are taken up where an earlier server left them."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    database = JobDatabase(settings.state_dir / "sandbox.sqlite3")
    store = JobStore(database)
    pool = RenderPool(settings.render_workers)
    render_queue = RenderQueue(settings, store, pool)
    emulator = Emulator(settings, store, render_queue)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            render_queue.resume(list(store.all()))
            try:
                yield
            finally:
                await render_queue.stop()
                database.close()

    app = Starlette(routes=routes(emulator), lifespan=lifespan, exception_handlers={DropConnection: cut})
    return ConnectionMiddleware(app), emulator


def routes(emulator: Emulator) -> list[Route]:
    """Everything that is answered."""
    return [
        *UnifiedRoutes(emulator).routes(),
        *OpenAIVideosRoutes(emulator).routes(),
        *GptprotoRoutes(emulator).routes(),
        *OutputRoutes(emulator).routes(),
        *ControlRoutes(emulator).routes(),
        *PageRoutes(emulator).routes(),
    ]
