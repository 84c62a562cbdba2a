"""GPTProto's native v3 format: the routes, and the exact shapes of answers and errors."""

from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sora_pipeline.sandbox.catalogue import MODELS, SLUGS, Model
from sora_pipeline.sandbox.formats.request_body import read_body
from sora_pipeline.sandbox.formats.routes import FormatRoutes
from sora_pipeline.sandbox.formats.status_words import status_word
from sora_pipeline.sandbox.jobs import Job, State
from sora_pipeline.sandbox.refusals import Problem, Refusal
from sora_pipeline.sandbox.submits import RawSubmit, shown

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
    Problem.POLICY_FORBIDDEN: (403, "403"),
    Problem.INVALID: (400, "400"),
    Problem.IMAGE_MISMATCH: (400, "invalid_request_error"),
    Problem.RATE_LIMITED: (429, "429"),
    Problem.TOO_MANY_RUNNING: (429, "429"),
    Problem.INTERNAL: (500, "500"),
    Problem.UNAVAILABLE: (503, "503"),
}


class GptprotoRoutes(FormatRoutes):
    """The format's endpoints, and those with which GPTProto's clients look at an account and its models."""

    def routes(self) -> list[Route]:
        """For the application; the submit route last, as its path fits many others."""
        return [
            self.route("GET", "/api/v3/predictions/{prediction_id}/result", self.result),
            self.route("GET", "/api/v3/user/me", self.account),
            self.route("GET", "/v1/cli/models", self.models),
            self.route("GET", "/v1/cli/models/{vendor}/{model}", self.model),
            self.route("POST", "/api/v3/{vendor}/{model}/{scene}", self.submit),
        ]

    async def submit(self, request: Request) -> Response:
        """Take a submit."""
        job = await self.emulator.submit(NAME, await _read_submit(request))
        return JSONResponse(_envelope(_submitted(job, str(request.base_url))))

    async def result(self, request: Request) -> Response:
        """Say how a job stands."""
        job = self.emulator.find(request.path_params["prediction_id"], NAME)
        base = str(request.base_url)
        return JSONResponse(_envelope(_prediction(job, base, self.emulator.output_urls(job, base))))

    async def account(self, request: Request) -> Response:
        """Say that the key is good. What the vendor tells here beyond that is not known."""
        return JSONResponse(_envelope({"username": "sandbox"}))

    async def models(self, request: Request) -> Response:
        """List the models."""
        offered = [model for model in MODELS.values() if self.emulator.has_model(model.name)]
        return JSONResponse({"models": [_description(model) for model in offered]})

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        model = SLUGS.get(f"{request.path_params['vendor']}/{request.path_params['model']}")
        if model is None or not self.emulator.has_model(model.name):
            raise Refusal(Problem.MODEL_GONE)
        return JSONResponse(_description(model))

    def error(self, refusal: Refusal, headers: dict[str, str]) -> Response:
        """The documented body of the native format; an unknown model has its own."""
        if refusal.problem is Problem.UNKNOWN_MODEL:
            return JSONResponse({"error": {"code": 400, "message": refusal.message}}, 400)
        status, kind = _STATUS[refusal.problem]
        error: dict[str, Any] = {"message": refusal.message, "type": kind}
        if refusal.problem is Problem.IMAGE_MISMATCH:
            error["code"] = None  # as the upstream words it
        return JSONResponse({"error": error}, status, headers=headers)


def _description(model: Model) -> dict[str, Any]:
    """A model as far as public clients read it."""
    submit = {"method": "POST", "path": "/api/v3/videos", "async": True}
    return {
        "provider": model.vendor,
        "model": model.name,
        "custom_model": model.slug,
        "capability": "video",
        "interfaces": [{**submit, "poll_path": "/api/v3/videos/{id}"}],
    }


async def _read_submit(request: Request) -> RawSubmit:
    vendor, model, scene = (request.path_params[name] for name in ("vendor", "model", "scene"))
    if model == "sora-2" and scene.endswith(_OLD_PRO):
        model, scene = "sora-2-pro", scene.removesuffix(_OLD_PRO)
    if f"{vendor}/{model}" not in SLUGS:
        raise Refusal(Problem.UNKNOWN_MODEL)
    if scene not in _SCENES:
        raise Refusal(Problem.INVALID, f"unknown scene {shown(scene)}")
    body = await read_body(request)
    image = body.files.get("image", body.fields.get("image"))
    if image is not None and not isinstance(image, str | bytes):
        raise Refusal(Problem.INVALID, "image must be a file, an http(s) URL or a data URI")
    return RawSubmit(
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
        "status": status_word(State.CREATED.value, job, State.CREATED),
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
        "status": status_word(word, job, state),
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
