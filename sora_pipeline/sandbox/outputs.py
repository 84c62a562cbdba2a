"""``GET /outputs/{file}``: the rendered videos, open to everybody as providers' storage is, with their faults."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sora_pipeline.sandbox.connections import transport_of
from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.faults import File
from sora_pipeline.sandbox.jobs import Job, Outcome
from sora_pipeline.sandbox.refusals import Refusal

_MP4 = "video/mp4"
_FRESH = "-fresh"

Missing = Callable[[str, int], Response]
"""How it is said that there is no file: words and a status code."""


class OutputRoutes:
    """Serves files of completed jobs.

    Args:
        emulator: Knows the jobs.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[Route]:
        """For the application."""
        return [Route("/outputs/{name}.mp4", self.output, methods=["GET"])]

    async def output(self, request: Request) -> Response:
        """One file, whole or by Range."""
        if "authorization" in request.headers:
            self._emulator.store.key_leaked()
        try:
            await self._emulator.check_outage()
        except Refusal as refusal:
            return PlainTextResponse(refusal.message, 503)
        name: str = request.path_params["name"]
        job = self._emulator.store.get(name.removesuffix(_FRESH))
        if job is None or job.outcome is not Outcome.COMPLETED or not job.has_file:
            return PlainTextResponse("not found", 404)
        return await serve_video(self._emulator, request, job, PlainTextResponse, fresh=name.endswith(_FRESH))


async def serve_video(
    emulator: Emulator, request: Request, job: Job, missing: Missing, *, fresh: bool
) -> Response:
    """A completed job's video, with whatever is wrong with it.

    Args:
        emulator: Knows the settings and the files.
        request: Asked for its Range.
        job: Completed, and with a file.
        missing: The wire format's way to say that there is none.
        fresh: Whether what was asked for has not expired.
    """
    path = emulator.render_queue.path(job)
    match job.file_fault:
        case File.LATE if time.time() < (job.ended_at or 0) + emulator.settings.late_file_s:
            return missing("not found", 404)
        case File.EXPIRED if not fresh:
            job.first_url_used = True
            return missing("this link has expired", 410)
        case File.WRONG_TYPE:
            return JSONResponse({"error": {"message": "the file is not accessible", "type": "500"}})
        case File.TRUNCATED:
            return await _changed(path, "half", lambda content: content[: len(content) // 2])
        case File.DAMAGED:
            return await _changed(path, "damaged", _damaged)
        case File.ODD_METADATA:
            return await _changed(path, "odd", _odd_names)
        case File.SHORT_BODY if "range" not in request.headers:
            return _CutFileResponse(path)
        case _:
            return FileResponse(path, media_type=_MP4)


async def _changed(path: Path, what: str, change: Callable[[bytes], bytes]) -> Response:
    """A copy of the file that is changed in one way."""
    copy = path.with_name(f".{what}-{path.name}")

    def write() -> None:
        if not copy.exists():
            copy.write_bytes(change(path.read_bytes()))

    await asyncio.to_thread(write)
    return FileResponse(copy, media_type=_MP4)


def _damaged(content: bytes) -> bytes:
    """The middle third is noise."""
    third = len(content) // 3
    return content[:third] + bytes(number * 151 % 251 for number in range(third)) + content[2 * third :]


def _odd_names(content: bytes) -> bytes:
    """The encoder's name and the track's are no UTF-8."""
    for name in (b"Lavf", b"VideoHandler"):
        content = content.replace(name, b"\xff\xc3\x28\xed" + name[4:])
    return content


class _CutFileResponse(Response):
    """Promises the whole file, sends half of it and hangs up."""

    def __init__(self, path: Path) -> None:
        super().__init__(media_type=_MP4)
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = await asyncio.to_thread(self._path.read_bytes)
        headers = [
            (b"content-type", _MP4.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"accept-ranges", b"bytes"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        transport = transport_of(scope)
        if transport is not None:
            transport.close()
        while (await receive())["type"] != "http.disconnect":
            pass
