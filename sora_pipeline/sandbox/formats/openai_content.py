"""``GET /v1/videos/{id}/content``: the one download that is an API call, and so needs the key."""

import asyncio
import io
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.faults import File
from sora_pipeline.sandbox.jobs import Job, Outcome
from sora_pipeline.sandbox.outputs import serve_video
from sora_pipeline.sandbox.refusals import Problem, Refusal

_EMPTY_ANSWERS = 2


async def respond(emulator: Emulator, request: Request, job: Job) -> Response:
    """The video, or what ``variant`` asks for.

    Raises:
        Refusal: the variant is not known, or the video is not there.
    """
    variant = request.query_params.get("variant", "video")
    if variant not in ("video", "thumbnail"):
        raise Refusal(Problem.INVALID, "variant must be video or thumbnail; the sandbox makes no other")
    if job.outcome is not Outcome.COMPLETED:
        raise Refusal(Problem.UNKNOWN_PREDICTION, "Video is not ready yet, use GET /v1/videos/{video_id}")
    if _withheld(job) or not job.has_file:
        # What people met on jobs that were completed and not expired.
        return _missing(f"Files [{job.id}] are not accessible", 403)
    if variant == "thumbnail":
        image = await asyncio.to_thread(_first_frame, emulator.render_queue.path(job))
        return Response(image, media_type="image/webp")
    return await serve_video(emulator, request, job, _missing, fresh=job.renewed)


def _withheld(job: Job) -> bool:
    if job.file_fault is File.EMPTY_ONCE and job.empty_contents < _EMPTY_ANSWERS:
        job.empty_contents += 1
        return True
    return job.file_fault is File.EMPTY


def _missing(words: str, status: int) -> Response:
    error = {"message": words, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status)


def _first_frame(video: Path) -> bytes:
    import av

    out = io.BytesIO()
    with av.open(str(video)) as container:
        frame: Any = next(container.decode(video=0))
        frame.to_image().save(out, "WEBP", quality=70)
    return out.getvalue()
