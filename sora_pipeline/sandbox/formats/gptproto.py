"""GPTProto's native v3 format: the routes, and the exact shapes of answers and errors."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.formats.reading import bearer_key, read_body, retry_after
from sora_pipeline.sandbox.formats.words import spoilt
from sora_pipeline.sandbox.jobs import Job, State
from sora_pipeline.sandbox.orders import RawOrder
from sora_pipeline.sandbox.refusals import Problem, Refusal

NAME = "gptproto"
_SCENES = ("image-to-video", "text-to-video")
_OLD_PRO = "-pro"  # the older routes name the pro model in the scene, below sora-2

# Status code, and the ``type`` of the documented error body: the code as a string.
_STATUS = {
    Problem.BAD_KEY: (401, "401"),
    Problem.BAD_TOKEN: (403, "403"),
    Problem.NO_BALANCE: (403, "403"),
    Problem.MODEL_GONE: (404, "model_not_found"),
    Problem.UNKNOWN_PREDICTION: (404, "404"),
    Problem.POLICY: (400, "503"),  # documented like this: the body says 503, the status is 400
    Problem.INVALID: (400, "400"),
    Problem.IMAGE_MISMATCH: (400, "invalid_request_error"),
    Problem.RATE_LIMITED: (429, "429"),
    Problem.TOO_MANY_RUNNING: (429, "429"),
    Problem.INTERNAL: (500, "500"),
    Problem.UNAVAILABLE: (503, "503"),
}
_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class GptprotoRoutes:
    """The format's endpoints.

    Args:
        emulator: Whom they speak for.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            Route("/api/v3/openai/{model}/{scene}", self.submit, methods=["POST"]),
            Route("/api/v3/predictions/{prediction_id}/result", self.result, methods=["GET"]),
        ]

    async def submit(self, request: Request) -> Response:
        """``POST /api/v3/openai/{model}/{scene}``."""
        try:
            await self._emulator.admit(bearer_key(request))
            job = await self._emulator.submit(NAME, await _read_order(request))
        except Refusal as refusal:
            return self._refused(refusal)
        return JSONResponse(_envelope(_submitted(job, str(request.base_url))))

    async def result(self, request: Request) -> Response:
        """``GET /api/v3/predictions/{id}/result``."""
        try:
            await self._emulator.admit(bearer_key(request))
            job = self._emulator.find(request.path_params["prediction_id"])
        except Refusal as refusal:
            return self._refused(refusal)
        base = str(request.base_url)
        origin = self._emulator.settings.output_base_url or base
        outputs = [origin.rstrip("/") + path for path in self._emulator.output_paths(job)]
        return JSONResponse(_envelope(_prediction(job, base, outputs)))

    def _refused(self, refusal: Refusal) -> Response:
        headers = retry_after(refusal, self._emulator.settings.retry_after)
        if refusal.problem is Problem.BAD_GATEWAY:
            return HTMLResponse(_PROXY_PAGE, 502)
        if refusal.problem is Problem.UNKNOWN_MODEL:
            return JSONResponse({"error": {"code": 400, "message": refusal.message}}, 400)
        status, kind = _STATUS[refusal.problem]
        error: dict[str, Any] = {"message": refusal.message, "type": kind}
        if refusal.problem is Problem.IMAGE_MISMATCH:
            error["code"] = None  # as the upstream words it
        return JSONResponse({"error": error}, status, headers=headers)


async def _read_order(request: Request) -> RawOrder:
    model, scene = request.path_params["model"], request.path_params["scene"]
    if model == "sora-2" and scene.endswith(_OLD_PRO):
        model, scene = "sora-2-pro", scene.removesuffix(_OLD_PRO)
    if scene not in _SCENES:
        raise Refusal(Problem.INVALID, f"unknown scene {scene!r}")
    body = await read_body(request)
    image = body.files.get("image", body.fields.get("image"))
    if image is not None and not isinstance(image, str | bytes):
        raise Refusal(Problem.INVALID, "image must be a file, an http(s) URL or a data URI")
    return RawOrder(
        model=model,
        prompt=body.fields.get("prompt"),
        duration=body.fields.get("duration"),
        size=body.fields.get("size"),
        image=image,
    )


def _envelope(data: dict[str, Any]) -> dict[str, Any]:
    return {"data": data, "message": "success", "code": 200}


def _submitted(job: Job, base: str) -> dict[str, Any]:
    return {
        "id": job.id,
        "model": job.model_returned,
        "outputs": [],
        "urls": {"get": _poll_url(job, base)},
        "hasNsfwContents": [],
        "status": spoilt(State.CREATED.value, job, State.CREATED),
        "createdAt": _naive(job.accepted_at),
        "executionTime": 0,
        "timings": {"inference": 0},
    }


def _prediction(job: Job, base: str, outputs: list[str]) -> dict[str, Any]:
    state = job.state()
    word = job.outcome.value if job.outcome else state.value
    took_ms = round((job.ended_at - job.accepted_at) * 1000) if job.ended_at is not None else 0
    return {
        "id": job.id,
        "model": job.model_returned,
        "outputs": outputs,
        "urls": {"get": _poll_url(job, base)},
        "status": spoilt(word, job, state),
        "error": job.error,
        "executionTime": took_ms,
        "timings": {"inference": took_ms},
        "has_nsfw_contents": [],
        "created_at": _naive(job.accepted_at),
    }


def _poll_url(job: Job, base: str) -> str:
    return f"{base}api/v3/predictions/{job.id}/result"


def _naive(moment: float) -> str:
    """Documented like this: no zone. It is UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")
