"""Every route of the sandbox as an OpenAPI document, for the tests that hold the two against each other.

The shapes are those of the vendors' documents as far as they are known; a test asks for every route and finds them kept.
"""

from typing import Any

from sora_pipeline.sandbox.catalogue import MODELS, SLUGS
from sora_pipeline.sandbox.formats.gptproto import NAME as NATIVE
from sora_pipeline.sandbox.formats.openai_videos import NAME as OPENAI
from sora_pipeline.sandbox.formats.unified import NAME as UNIFIED
from sora_pipeline_tests.sandbox.openapi_schemas import SCHEMAS

Tables = dict[str, Any]
_PROVIDER_ERRORS = (400, 401, 403, 404, 429, 500, 503)
_ERROR_SCHEMAS = {NATIVE: "NativeError", UNIFIED: "UnifiedError", OPENAI: "OpenAIError"}
_MEANINGS = {
    200: "Done",
    202: "Accepted, and on the bill",
    206: "The part that was asked for",
    400: "Not understood, or refused for content policy",
    401: "No key, or a wrong one",
    403: "Invalid token, insufficient balance, or a file that is not accessible",
    404: "Not known, or not there yet",
    410: "Expired",
    416: "No such part",
    429: "Too many requests, or too many running tasks",
    500: "Internal error",
    502: "A proxy's page, as faults make it",
    503: "Unavailable",
}


def document() -> Tables:
    """The whole document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sandbox provider",
            "version": "1",
            "description": "A video provider that costs nothing, in three wire formats, with switches for every fault.",
        },
        "paths": {**_provider_paths(), **_sandbox_paths()},
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _provider_paths() -> Tables:
    task, video = _path("task_id"), _path("video_id")
    return {
        "/api/v3/videos": {
            "post": _call(UNIFIED, "Submit", {202: "UnifiedTask"}, body=_json("UnifiedSubmit")),
        },
        "/api/v3/videos/{task_id}": {"get": _call(UNIFIED, "Poll", {200: "UnifiedTask"}, task)},
        "/api/v3/tasks/result/{task_id}": {"get": _call(UNIFIED, "Poll", {200: "UnifiedTask"}, task)},
        "/v1/videos": {
            "post": _call(OPENAI, "Submit", {200: "Video"}, body=_form("OpenAIForm", "OpenAISubmit")),
            "get": _call(OPENAI, "List", {200: "VideoList"}, *_LIST_QUERY),
        },
        "/v1/videos/{video_id}": {
            "get": _call(OPENAI, "Poll", {200: "Video"}, video),
            "delete": _call(OPENAI, "Delete", {200: "VideoDeleted"}, video),
        },
        "/v1/videos/{video_id}/content": {"get": _content(video)},
        "/v1/models": {"get": _call(OPENAI, "List the models", {200: "ModelList"})},
        "/v1/models/{model}": {
            "get": _call(OPENAI, "Describe a model", {200: "Model"}, _path("model", *MODELS))
        },
        "/api/v3/predictions/{prediction_id}/result": {
            "get": _call(NATIVE, "Poll", {200: "NativePrediction"}, _path("prediction_id"))
        },
        "/api/v3/user/me": {"get": _call(NATIVE, "Try a key", {200: "Account"})},
        "/v1/cli/models": {"get": _call(NATIVE, "List the models", {200: "CliModels"})},
        "/v1/cli/models/{vendor}/{model}": {
            "get": _call(NATIVE, "Describe a model", {200: "CliModel"}, *_VENDOR_AND_MODEL)
        },
        "/api/v3/{vendor}/{model}/{scene}": {
            "post": _call(
                NATIVE,
                "Submit",
                {200: "NativePrediction"},
                *_VENDOR_AND_MODEL,
                _path("scene", "text-to-video", "image-to-video"),
                body=_form("NativeForm", "NativeSubmit"),
            )
        },
    }


def _sandbox_paths() -> Tables:
    return {
        "/outputs/{name}.mp4": {
            "get": _open(
                "Download an output; a key sent along is counted as leaked",
                {200: "video/mp4", 206: "video/mp4", 404: _TEXT, 410: _TEXT, 416: _TEXT, 503: _TEXT},
                _path("name"),
            )
        },
        "/sandbox/health": {"get": _own("Whether it is up", "Health")},
        "/sandbox/bill": {"get": _own("Everything that was accepted", "Bill")},
        "/sandbox/faults": {"get": _own("What prompts can ask for", "Faults")},
        "/sandbox/settings": {
            "get": _own("The settings that can be changed", "Settings"),
            "put": {**_own("Change some", "Settings", 400), "requestBody": _json("Settings")},
        },
        "/sandbox/reset": {"post": _own("Forget all jobs and the bill", "Done")},
        "/": {"get": _open("A page for people", {200: "text/html"})},
    }


_TEXT = "text/plain"


def _path(name: str, *known: str) -> Tables:
    schema: Tables = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema, **_examples(known)}


def _query(name: str, schema: Tables) -> Tables:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _examples(values: tuple[str, ...]) -> Tables:
    return {"examples": {value: {"value": value} for value in values}} if values else {}


_VENDOR_AND_MODEL = (
    _path("vendor", *(slug.partition("/")[0] for slug in SLUGS)),
    _path("model", *(slug.partition("/")[2] for slug in SLUGS)),
)
_LIST_QUERY = (
    _query("limit", {"type": "integer", "minimum": 1, "maximum": 100}),
    _query("order", {"type": "string", "enum": ["asc", "desc"]}),
    _query("after", {"type": "string"}),
)


def _ref(schema: str) -> Tables:
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}}


def _json(schema: str) -> Tables:
    return {"required": True, "content": {"application/json": _ref(schema)}}


def _form(form: str, schema: str) -> Tables:
    content = {"application/json": _ref(schema), "multipart/form-data": _ref(form)}
    return {"required": True, "content": content}


def _call(
    wire: str, summary: str, good: dict[int, str], *parameters: Tables, body: Tables | None = None
) -> Tables:
    """A call of the provider's API, with its key and its errors."""
    responses = {str(status): _answer(status, _ref(schema)) for status, schema in good.items()}
    for status in _PROVIDER_ERRORS:
        responses[str(status)] = _answer(status, _ref(_ERROR_SCHEMAS[wire]))
    # An address that fits no route, as one with a slash too many, is answered by the server itself.
    responses["404"]["content"][_TEXT] = {}
    responses["502"] = _answer(502, {}, "text/html")
    call = {
        "tags": [wire],
        "summary": summary,
        "security": [{"key": []}],
        "parameters": list(parameters),
        "responses": responses,
    }
    return call if body is None else {**call, "requestBody": body}


def _content(video: Tables) -> Tables:
    variant = _query("variant", {"type": "string", "enum": ["video", "thumbnail"]})
    call = _call(OPENAI, "Download the video, or its first frame", {}, video, variant)
    call["responses"]["200"] = _answer(200, {}, "video/mp4", "image/webp", "application/json")
    call["responses"]["206"] = _answer(206, {}, "video/mp4")
    call["responses"]["410"] = _answer(410, _ref("OpenAIError"))
    call["responses"]["416"] = _answer(416, {}, _TEXT)
    return call


def _own(summary: str, schema: str, *errors: int) -> Tables:
    """A call of the sandbox's own, which needs no key."""
    responses = {"200": _answer(200, _ref(schema))}
    responses |= {str(status): _answer(status, _ref("SandboxError")) for status in errors}
    return {"tags": ["sandbox"], "summary": summary, "responses": responses}


def _open(summary: str, answers: dict[int, str], *parameters: Tables) -> Tables:
    responses = {str(status): _answer(status, {}, media) for status, media in answers.items()}
    return {"tags": ["sandbox"], "summary": summary, "parameters": list(parameters), "responses": responses}


def _answer(status: int, schema: Tables, *media_types: str) -> Tables:
    media = media_types or ("application/json",)
    return {"description": _MEANINGS[status], "content": {each: dict(schema) for each in media}}
