"""Puts the sandbox together: journal, store, studio, emulator and the routes that speak for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route

from sora_pipeline.sandbox.connections import Doorman, DropConnection, cut
from sora_pipeline.sandbox.control import ControlRoutes
from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.formats.gptproto import GptprotoRoutes
from sora_pipeline.sandbox.formats.openai_videos import OpenAIVideosRoutes
from sora_pipeline.sandbox.formats.unified import UnifiedRoutes
from sora_pipeline.sandbox.journal import Journal
from sora_pipeline.sandbox.openapi import OpenAPIRoutes
from sora_pipeline.sandbox.outputs import OutputRoutes
from sora_pipeline.sandbox.page import PageRoutes
from sora_pipeline.sandbox.rendering.pool import RenderPool
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.sandbox.store import JobStore
from sora_pipeline.sandbox.studio import Studio


def build(settings: SandboxSettings) -> tuple[Doorman, Emulator]:
    """The application and what steers it; jobs are taken up where an earlier server left them."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    journal = Journal(settings.state_dir / "sandbox.sqlite3")
    store = JobStore(journal)
    pool = RenderPool(settings.render_workers)
    studio = Studio(settings, store, pool)
    emulator = Emulator(settings, store, studio)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with pool:
            studio.resume(list(store.all()))
            try:
                yield
            finally:
                await studio.stop()
                journal.close()

    app = Starlette(routes=routes(emulator), lifespan=lifespan, exception_handlers={DropConnection: cut})
    return Doorman(app), emulator


def routes(emulator: Emulator) -> list[Route]:
    """Everything that is answered; ``openapi`` writes it down."""
    return [
        *UnifiedRoutes(emulator).routes(),
        *OpenAIVideosRoutes(emulator).routes(),
        *GptprotoRoutes(emulator).routes(),
        *OutputRoutes(emulator).routes(),
        *OpenAPIRoutes().routes(),
        *ControlRoutes(emulator).routes(),
        *PageRoutes(emulator).routes(),
    ]
