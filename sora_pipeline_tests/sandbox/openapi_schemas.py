"""The shapes of requests and answers for the OpenAPI document. Data only."""

from typing import Any

from sora_pipeline.sandbox.catalogue import SLUGS

Schema = dict[str, Any]


def _string(**more: Any) -> Schema:
    return {"type": "string", **more}


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _or_null(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_PROMPT = _string(minLength=1, maxLength=32_000)
_URL = _string(description="An http(s) URL or a data URI", examples=["https://images.example/cat.png"])
_FILE = _string(contentMediaType="application/octet-stream")
_DURATION = {"type": "integer", "minimum": 1, "examples": [4, 5]}
_SIZE = _string(pattern="^[1-9][0-9]{0,4}[x*][1-9][0-9]{0,4}$", examples=["1280x720", "720*1280"])
_NUMBER_OR_TEXT = {"type": ["integer", "string"]}
_MONEY = _string(pattern=r"^[0-9]+(\.[0-9]+)?$")

_NATIVE_SUBMIT = {"duration": _DURATION, "size": _SIZE}
_OPENAI_SUBMIT = {
    "model": _string(default="sora-2", examples=["sora-2-pro"]),
    "seconds": _string(pattern="^[1-9][0-9]?$", examples=["4"]),
    "size": _SIZE,
}
_FRAME = _object(
    {
        "type": _string(enum=["image_url"]),
        "frame_type": _string(enum=["first_frame"]),
        "image_url": _object({"url": _URL}),
    }
)
_NATIVE = _object(
    {
        "id": _string(),
        "model": _string(),
        "outputs": _list_of(_string(format="uri")),
        "urls": _object({"get": _string(format="uri")}),
        "status": _string(),
        "executionTime": {"type": "integer"},
        "timings": _object({"inference": {"type": "integer"}}),
    },
    {"error": _or_null("string"), "created_at": _string(), "createdAt": _string()},
)
_BILL_ITEM = _object(
    {
        "prediction_id": _string(),
        "format": _string(),
        "model": _string(),
        "prompt": _string(),
        "duration": {"type": "integer"},
        "size": _string(),
        "image_sha256": _or_null("string"),
        "cost_usd": _MONEY,
        "accepted_at": _string(format="date-time"),
        "ended_at": _or_null("string"),
        "status": _string(),
        "outcome": _or_null("string"),
        "faults": _list_of(_string()),
    }
)
_VIDEO = _object(
    {
        "id": _string(),
        "object": {"const": "video"},
        "model": _string(),
        "status": _string(),
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "seconds": _string(),
        "size": _string(),
        "created_at": _NUMBER_OR_TEXT,
    },
    {
        "prompt": _string(),
        "completed_at": {"type": ["integer", "string", "null"]},
        "expires_at": {"type": ["integer", "string", "null"]},
        "error": {"anyOf": [{"type": "null"}, _object({"code": _string(), "message": _string()})]},
        "soraVideoUrl": _string(format="uri"),
    },
)
_CLI_MODEL = _object({"provider": _string(), "model": _string(), "interfaces": _list_of({"type": "object"})})
_MODEL = _object({"id": _string(), "object": {"const": "model"}, "owned_by": _string()})
_FAULT = _object({"name": _string(), "marker": _string(), "when": _string(), "does": _string()})
_CODE = _object({"code": {"type": "integer"}, "message": _string()})
_OPENAI_ERROR = {
    "message": _string(),
    "type": _string(),
    "param": _or_null("string"),
    "code": _or_null("string"),
}

SCHEMAS: dict[str, Schema] = {
    "NativeSubmit": _object({"prompt": _PROMPT}, {**_NATIVE_SUBMIT, "image": _URL}),
    "NativeForm": _object({"prompt": _PROMPT}, {**_NATIVE_SUBMIT, "image": _FILE}),
    "NativePrediction": _object({"data": _NATIVE, "message": _string(), "code": {"const": 200}}),
    "NativeError": _object({"error": _object({"message": _string()}, {"type": _string(), "code": {}})}),
    "Account": _object({"data": {"type": "object"}, "message": _string(), "code": {"const": 200}}),
    "CliModel": _CLI_MODEL,
    "CliModels": _object({"models": _list_of(_ref("CliModel"))}),
    "UnifiedSubmit": _object(
        {"model": _string(examples=list(SLUGS)), "prompt": _PROMPT},
        {
            "duration": _DURATION,
            "size": _string(pattern="^[1-9][0-9]*x[1-9][0-9]*$", examples=["1280x720"]),
            "resolution": _string(enum=["720p", "1080p"]),
            "aspect_ratio": _string(enum=["16:9", "9:16"]),
            "frame_images": {**_list_of(_FRAME), "maxItems": 1},
        },
    ),
    "UnifiedTask": _object(
        {"id": _string(), "status": _string(), "polling_url": _string()},
        {
            "generation_id": _string(),
            "model": _string(),
            "native_status": _string(),
            "unsigned_urls": _list_of(_string(format="uri")),
            "error": _string(),
            "created_at": _string(format="date-time"),
            "completed_at": _string(format="date-time"),
        },
    ),
    "UnifiedError": {"anyOf": [_object({"error": _CODE}), _CODE]},
    "OpenAISubmit": _object(
        {"prompt": _PROMPT}, {**_OPENAI_SUBMIT, "input_reference": _object({"image_url": _URL})}
    ),
    "OpenAIForm": _object({"prompt": _PROMPT}, {**_OPENAI_SUBMIT, "input_reference": _FILE}),
    "OpenAIError": _object({"error": _object(_OPENAI_ERROR)}),
    "Video": _VIDEO,
    "VideoList": _object(
        {"object": {"const": "list"}, "data": _list_of(_ref("Video")), "has_more": {"type": "boolean"}},
        {"first_id": _or_null("string"), "last_id": _or_null("string")},
    ),
    "VideoDeleted": _object(
        {"id": _string(), "deleted": {"const": True}, "object": {"const": "video.deleted"}}
    ),
    "Model": _MODEL,
    "ModelList": _object({"object": {"const": "list"}, "data": _list_of(_ref("Model"))}),
    "Health": _object({"status": {"const": "ok"}, "instance": _string(), "pid": {"type": "integer"}}),
    "Bill": _object(
        {
            "accepted": {"type": "integer"},
            "total_usd": _MONEY,
            "total_usd_number": {"type": "number"},
            "items": _list_of(_BILL_ITEM),
            "by_prompt": {"type": "object", "additionalProperties": {"type": "integer"}},
            "duplicates": _list_of({"type": "object"}),
            "keys_leaked": {"type": "integer"},
        }
    ),
    "Faults": _list_of(_FAULT),
    "Settings": {
        "type": "object",
        "description": "Names and values of settings, as the command line lists them.",
    },
    "SandboxError": _object({"error": _object({"message": _string()})}),
    "Done": _object({"status": {"const": "ok"}}),
}
