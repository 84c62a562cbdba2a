"""Answers that a provider might give: any bytes, any JSON, and real answers in which something is off."""

import json
from typing import Any

from hypothesis import strategies as st

CLIP = "https://oss.gptproto.com/ai/clip.mp4"
STATUSES = st.sampled_from([200, 202, 204, 301, 400, 401, 403, 404, 410, 429, 500, 502, 503, 504, 599])

_KEYS = [
    "data",
    "id",
    "status",
    "outputs",
    "output",
    "urls",
    "get",
    "error",
    "message",
    "code",
    "type",
    "url",
    "polling_url",
    "images",
    "result",
    "expires_at",
    "has_nsfw_contents",
    "model",
    "unsigned_urls",
    "soraVideoUrl",
    "native_status",
    "object",
    "progress",
    "balance",
]
_WORDS = [
    "completed",
    "COMPLETED",
    "Succeeded",
    "failed",
    "cancelled",
    "no_resource",
    "queued",
    "in_progress",
    "created",
    "success",
    "200",
    "503",
    "400",
    "moderation_blocked",
    "model_not_found",
    "insufficient_quota",
    "/x",
    "/v1/videos/1",
    "http://[",
    "https://a\\b",
    "http://127.0.0.1/x",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([*_WORDS, CLIP, "\ud800", ""])
)
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=25,
)

_NATIVE = {
    "data": {
        "id": "abc", "model": "sora-2-pro", "outputs": [CLIP], "urls": {"get": "/api/v3/predictions/abc/result"},
        "status": "completed", "error": None, "has_nsfw_contents": [],
    },
    "message": "success",
    "code": 200,
}  # fmt: skip
_UNIFIED = {
    "id": "job-1", "status": "completed", "polling_url": "/api/v3/tasks/result/job-1", "native_status": "completed",
    "unsigned_urls": [CLIP], "model": "openai/sora-2-pro",
}  # fmt: skip
_VIDEO = {
    "id": "video_1", "object": "video", "status": "completed", "model": "sora-2-pro", "progress": 100, "error": None,
    "created_at": 1766556441, "soraVideoUrl": CLIP,
}  # fmt: skip


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A real answer of one of the formats in which up to three values are others, or gone."""
    body = json.loads(json.dumps(draw(st.sampled_from([_NATIVE, _UNIFIED, _VIDEO]))))
    holder = body["data"] if "data" in body and draw(st.booleans()) else body
    for key in draw(st.lists(st.sampled_from([*holder, *_KEYS]), max_size=3)):
        if draw(st.booleans()):
            holder.pop(key, None)
        else:
            holder[key] = draw(JSON)
    return body


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


ANSWERS: st.SearchStrategy[bytes] = (
    spoilt().map(_encoded)
    | JSON.map(_encoded)
    | st.binary()
    | st.sampled_from(
        [
            b"",
            b"<html>completed</html>",
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b"null",
            b"9" * 5000,
            b"\xff\xfe{",
        ]
    )
)
