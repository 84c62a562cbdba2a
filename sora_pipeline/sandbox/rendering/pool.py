"""Renders briefs in a few processes of low priority, so that neither the event loop nor its GIL ever waits for one."""

import asyncio
import dataclasses
import json
import sys
from typing import Self

from sora_pipeline.sandbox.rendering.scene import Brief


class RenderError(Exception):
    """A brief could not be rendered."""


class RenderPool:
    """An async context manager; ``render`` takes its turn in the order of calls.

    Args:
        size: How many processes; each is started when first needed.
    """

    def __init__(self, size: int) -> None:
        self._idle: asyncio.LifoQueue[asyncio.subprocess.Process | None] = asyncio.LifoQueue()
        self._processes: set[asyncio.subprocess.Process] = set()
        self._work: set[asyncio.Task[str | None]] = set()
        for _ in range(size):
            self._idle.put_nowait(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await asyncio.gather(*self._work, return_exceptions=True)

    async def render(self, brief: Brief) -> None:
        """Make one video; a process that died is replaced once.

        Raises:
            RenderError: it cannot be made.
        """
        for _ in range(2):
            process = await self._idle.get()
            # Cancelled, it still runs to its end: an answer left unread would be taken for the next one's.
            work = asyncio.create_task(self._use(process, brief))
            self._work.add(work)
            work.add_done_callback(self._work.discard)
            answer = await asyncio.shield(work)
            if answer is not None:
                if answer:
                    raise RenderError(answer)
                return
        raise RenderError("the render process died twice")

    async def _use(self, process: asyncio.subprocess.Process | None, brief: Brief) -> str | None:
        try:
            if process is None or process.returncode is not None:
                process = await _start()
                self._processes.add(process)
            return await _ask(process, brief)
        finally:
            self._idle.put_nowait(process)


async def _start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sora_pipeline.sandbox.rendering.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the server, which then ends these
    )


async def _ask(process: asyncio.subprocess.Process, brief: Brief) -> str | None:
    """The error's text, empty where there was none; None where the process died."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(dataclasses.asdict(brief)).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
    except ConnectionError:
        line = b""
    if not line:
        await process.wait()
        return None
    error: str | None = json.loads(line)["error"]
    return error or ""
