"""GPTProto's unified format: one endpoint for all models, named by ``vendor/model`` slugs.

After ``docs/API.md`` and ``openapi/openapi.yaml`` of github.com/gptproto-ai/gptproto-sdk. The two contradict each other on
error bodies; ``flat_errors`` chooses the pages' shape, the specification's is the default.
"""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sora_pipeline.sandbox.catalogue import SLUGS, Model
from sora_pipeline.sandbox.formats.request_body import read_body
from sora_pipeline.sandbox.formats.routes import FormatRoutes
from sora_pipeline.sandbox.formats.status_words import status_word
from sora_pipeline.sandbox.jobs import Job, Outcome, State
from sora_pipeline.sandbox.refusals import Problem, Refusal
from sora_pipeline.sandbox.submits import RawSubmit

NAME = "gptproto-unified"

# HTTP status, and the code in the body.
_STATUS = {
    Problem.BAD_KEY: (401, 401),
    Problem.BAD_TOKEN: (403, 403),
    Problem.NO_BALANCE: (403, 403),
    Problem.MODEL_GONE: (400, 400),
    Problem.UNKNOWN_MODEL: (400, 400),
    Problem.UNKNOWN_PREDICTION: (404, 404),
    Problem.POLICY: (400, 503),
    Problem.POLICY_FORBIDDEN: (403, 403),
    Problem.INVALID: (400, 400),
    Problem.IMAGE_MISMATCH: (400, 400),
    Problem.RATE_LIMITED: (429, 429),
    Problem.TOO_MANY_RUNNING: (429, 429),
    Problem.INTERNAL: (500, 500),
    Problem.UNAVAILABLE: (503, 503),
}
_WORDS = {State.CREATED: "pending", State.PROCESSING: "in_progress"}
_OUTCOMES = {Outcome.COMPLETED: "completed", Outcome.CANCELLED: "cancelled"}
_SIDES = {"720": 720, "720p": 720, "1080": 1080, "1080p": 1080}
_RATIOS = {"16:9": (16, 9), "9:16": (9, 16)}


class UnifiedRoutes(FormatRoutes):
    """The format's endpoints."""

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            self.route("POST", "/api/v3/videos", self.submit),
            self.route("GET", "/api/v3/videos/{task_id}", self.task),
            self.route("GET", "/api/v3/tasks/result/{task_id}", self.task),
        ]

    async def submit(self, request: Request) -> Response:
        """Take a submit."""
        job = await self.emulator.submit(NAME, await _read_submit(request), id_prefix="job-")
        accepted = {**_about(job), "generation_id": job.id.replace("job-", "gen-", 1)}
        return JSONResponse({**accepted, "status": status_word("pending", job, State.CREATED)}, 202)

    async def task(self, request: Request) -> Response:
        """Say how a job stands."""
        job = self.emulator.find(request.path_params["task_id"], NAME)
        return JSONResponse(_result(job, self.emulator.output_urls(job, str(request.base_url))))

    def error(self, refusal: Refusal, headers: dict[str, str]) -> Response:
        """The specification's error body, or that of the pages."""
        status, code = _STATUS[refusal.problem]
        body: dict[str, Any] = {"code": code, "message": refusal.message}
        body = {**body, "type": "error"} if self.emulator.settings.flat_errors else {"error": body}
        return JSONResponse(body, status, headers=headers)


async def _read_submit(request: Request) -> RawSubmit:
    body = await read_body(request)
    if body.files:
        raise Refusal(Problem.INVALID, "this format takes JSON only")
    model = SLUGS.get(str(body.fields.get("model")))
    if model is None:
        raise Refusal(Problem.UNKNOWN_MODEL)
    return RawSubmit(
        model=model.name,
        prompt=body.fields.get("prompt"),
        duration=body.fields.get("duration"),
        size=_size(body.fields, model),
        image=_first_frame(body.fields.get("frame_images")),
    )


def _size(fields: dict[str, Any], model: Model) -> object:
    """The size asked for; what a model does not read is passed over without a word, as the vendor's is."""
    size, resolution = fields.get("size"), fields.get("resolution")
    if size is not None and model.reads_size:
        if not isinstance(size, str) or "*" in size:
            raise Refusal(Problem.INVALID, "size must look like 1280x720")
        return size
    if resolution is None:
        return None
    side, ratio = _SIDES.get(str(resolution)), _RATIOS.get(str(fields.get("aspect_ratio") or "16:9"))
    if side is None or ratio is None:
        raise Refusal(Problem.INVALID, "resolution or aspect_ratio is not supported")
    return f"{side * ratio[0] // min(ratio)}x{side * ratio[1] // min(ratio)}"


def _first_frame(frames: object) -> str | None:
    if frames is None or frames == []:
        return None
    frame = frames[0] if isinstance(frames, list) else None
    if isinstance(frame, dict) and (frame.get("type"), frame.get("frame_type")) == (
        "image_url",
        "first_frame",
    ):
        holder = frame.get("image_url")
        if isinstance(holder, dict) and isinstance(holder.get("url"), str):
            return str(holder["url"])
    raise Refusal(Problem.INVALID, "frame_images must hold one first_frame with an image_url")


def _about(job: Job) -> dict[str, Any]:
    own = job.model_returned == job.model
    vendor = next(model.vendor for model in SLUGS.values() if model.name == job.model)
    return {
        "id": job.id,
        "polling_url": f"/api/v3/tasks/result/{job.id}",  # relative, as documented
        "model": f"{vendor}/{job.model}" if own else job.model_returned,
    }


def _result(job: Job, outputs: list[str]) -> dict[str, Any]:
    state = job.state()
    word = _OUTCOMES.get(job.outcome, "failed") if job.outcome else _WORDS[state]
    answer = {
        **_about(job),
        "status": status_word(word, job, state),
        "native_status": job.outcome.value if job.outcome else state.value,
        "unsigned_urls": outputs,
        "created_at": _moment(job.accepted_at),
    }
    if job.error is not None:
        answer["error"] = job.error
    if job.ended_at is not None:
        answer["completed_at"] = _moment(job.ended_at)
    return answer


def _moment(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
