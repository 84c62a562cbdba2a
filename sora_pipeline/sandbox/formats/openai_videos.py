"""The OpenAI Videos API, ``/v1/videos``, as OpenAI had it and as GPTProto and others offer it.

After OpenAI's ``openapi.yaml``. ``openai_flavour=gptproto`` adds what GPTProto's pages show: a ``soraVideoUrl``, and
timestamps as strings.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sora_pipeline.sandbox.catalogue import MODELS, Model
from sora_pipeline.sandbox.formats import openai_content
from sora_pipeline.sandbox.formats.request_body import Body, read_body
from sora_pipeline.sandbox.formats.routes import FormatRoutes
from sora_pipeline.sandbox.formats.status_words import status_word
from sora_pipeline.sandbox.jobs import Job, Outcome, State
from sora_pipeline.sandbox.refusals import Problem, Refusal
from sora_pipeline.sandbox.settings import OpenAIFlavour
from sora_pipeline.sandbox.submits import RawSubmit

NAME = "openai-videos"
_INVALID = "invalid_request_error"
# HTTP status, type and code of the error body.
_STATUS: dict[Problem, tuple[int, str, str | None]] = {
    Problem.BAD_KEY: (401, _INVALID, "invalid_api_key"),
    Problem.BAD_TOKEN: (403, _INVALID, "invalid_api_key"),
    Problem.NO_BALANCE: (429, "insufficient_quota", "insufficient_quota"),
    Problem.MODEL_GONE: (404, _INVALID, "model_not_found"),
    Problem.UNKNOWN_MODEL: (404, _INVALID, "model_not_found"),
    Problem.UNKNOWN_PREDICTION: (404, _INVALID, "not_found"),
    Problem.POLICY: (400, _INVALID, "moderation_blocked"),
    Problem.POLICY_FORBIDDEN: (403, _INVALID, "content_policy_violation"),
    Problem.INVALID: (400, _INVALID, None),
    Problem.IMAGE_MISMATCH: (400, _INVALID, None),
    Problem.RATE_LIMITED: (429, "requests", "rate_limit_exceeded"),
    Problem.TOO_MANY_RUNNING: (429, "requests", "rate_limit_exceeded"),
    Problem.INTERNAL: (500, "server_error", None),
    Problem.UNAVAILABLE: (503, "server_error", None),
}
_WORDS = {State.CREATED: "queued", State.PROCESSING: "in_progress"}
_LIFETIME_S = 3600
_PAGE = 20
_MAX_PAGE = 100


class OpenAIVideosRoutes(FormatRoutes):
    """The format's endpoints."""

    def routes(self) -> list[Route]:
        """For the application."""
        return [
            self.route("POST", "/v1/videos", self.create),
            self.route("GET", "/v1/videos", self.page),
            self.route("GET", "/v1/videos/{video_id}", self.retrieve),
            self.route("DELETE", "/v1/videos/{video_id}", self.delete),
            self.route("GET", "/v1/videos/{video_id}/content", self.content),
            self.route("GET", "/v1/models", self.models),
            self.route("GET", "/v1/models/{model}", self.model),
        ]

    async def create(self, request: Request) -> Response:
        """Take a submit."""
        job = await self.emulator.submit(NAME, await _read_submit(request), id_prefix="video_")
        return JSONResponse(self._video(job, []))

    async def retrieve(self, request: Request) -> Response:
        """Say how a job stands."""
        job = self.emulator.find(request.path_params["video_id"], NAME)
        return JSONResponse(self._video(job, self.emulator.output_urls(job, str(request.base_url))))

    async def page(self, request: Request) -> Response:
        """List jobs, the newest first."""
        query = request.query_params
        limit, order, after = query.get("limit", str(_PAGE)), query.get("order", "desc"), query.get("after")
        if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= _MAX_PAGE):
            raise Refusal(Problem.INVALID, f"limit must be a number from 1 to {_MAX_PAGE}")
        if order not in ("asc", "desc"):
            raise Refusal(Problem.INVALID, "order must be asc or desc")
        jobs = self.emulator.store.of_format(NAME)
        jobs = jobs if order == "asc" else jobs[::-1]
        if after:
            place = next((index for index, job in enumerate(jobs) if job.id == after), None)
            if place is None:
                raise Refusal(Problem.UNKNOWN_PREDICTION)
            jobs = jobs[place + 1 :]
        shown = jobs[: int(limit)]
        ends = {"first_id": shown[0].id if shown else None, "last_id": shown[-1].id if shown else None}
        data = [self._video(job, []) for job in shown]
        return JSONResponse({"object": "list", "data": data, **ends, "has_more": len(jobs) > len(shown)})

    async def delete(self, request: Request) -> Response:
        """Forget a job that has ended; the bill does not."""
        job = self.emulator.known(request.path_params["video_id"], NAME)
        if job.outcome is None:
            raise Refusal(Problem.INVALID, "a video that is being generated cannot be deleted")
        self.emulator.store.delete(job)
        return JSONResponse({"id": job.id, "deleted": True, "object": "video.deleted"})

    async def content(self, request: Request) -> Response:
        """Send the video, or its first frame."""
        job = self.emulator.known(request.path_params["video_id"], NAME)
        return await openai_content.respond(self.emulator, request, job)

    async def models(self, request: Request) -> Response:
        """List the models."""
        offered = [_model(model) for model in MODELS.values() if self.emulator.has_model(model.name)]
        return JSONResponse({"object": "list", "data": offered})

    async def model(self, request: Request) -> Response:
        """Describe one model."""
        name = request.path_params["model"]
        if not self.emulator.has_model(name):
            raise Refusal(Problem.MODEL_GONE)
        return JSONResponse(_model(MODELS[name]))

    def error(self, refusal: Refusal, headers: dict[str, str]) -> Response:
        """OpenAI's error body."""
        status, kind, code = _STATUS[refusal.problem]
        error = {"message": refusal.message, "type": kind, "param": None, "code": code}
        return JSONResponse({"error": error}, status, headers=headers)

    def _video(self, job: Job, outputs: list[str]) -> dict[str, Any]:
        gptproto = self.emulator.settings.openai_flavour is OpenAIFlavour.GPTPROTO
        video = {**_video(job), **_times(job, str if gptproto else int)}
        if gptproto and outputs:
            video["soraVideoUrl"] = outputs[0]
        return video


def _video(job: Job) -> dict[str, Any]:
    state = job.state()
    word = _WORDS.get(state, "completed" if job.outcome is Outcome.COMPLETED else "failed")
    failed = job.error is not None
    return {
        "id": job.id,
        "object": "video",
        "model": job.model_returned,
        "status": status_word(word, job, state),
        "progress": {State.CREATED: 0, State.PROCESSING: 50}.get(state, 0 if failed else 100),
        "prompt": job.prompt,
        "seconds": str(job.duration),
        "size": str(job.size),
        "remixed_from_video_id": None,
        "error": {"code": job.error_code, "message": job.error} if failed else None,
    }


def _times(job: Job, form: type[int] | type[str]) -> dict[str, Any]:
    completed = job.ended_at if job.outcome is Outcome.COMPLETED else None
    moments = {
        "created_at": job.accepted_at,
        "completed_at": completed,
        "expires_at": completed + _LIFETIME_S if completed is not None else None,
    }
    return {name: None if moment is None else form(int(moment)) for name, moment in moments.items()}


def _model(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.vendor}


async def _read_submit(request: Request) -> RawSubmit:
    body = await read_body(request)
    return RawSubmit(
        model=str(body.fields.get("model", "sora-2")),
        prompt=body.fields.get("prompt"),
        duration=body.fields.get("seconds"),
        size=body.fields.get("size"),
        image=_reference(body),
    )


def _reference(body: Body) -> str | bytes | None:
    """The first frame: a file part, or an object with its URL, which clients flatten in a form."""
    if "input_reference" in body.files:
        return body.files["input_reference"]
    given = body.fields.get("input_reference", {"image_url": body.fields.get("input_reference[image_url]")})
    url = given.get("image_url") if isinstance(given, dict) else None
    if given is None or given == {"image_url": None}:
        return None
    if not isinstance(url, str):
        raise Refusal(Problem.INVALID, "input_reference must be a file, or an object with an image_url")
    return url
