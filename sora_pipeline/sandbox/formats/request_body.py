"""What wire formats share in reading requests: keys, JSON and multipart bodies."""

import asyncio
import json
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesHeaderParser
from typing import Any

from starlette.requests import Request

from sora_pipeline.sandbox.refusals import Problem, Refusal

_LARGE = 64 * 1024  # bodies above this are parsed outside the event loop


@dataclass(slots=True)
class Body:
    """A request body: its fields, and its files' bytes by field name."""

    fields: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


def bearer_key(request: Request) -> str | None:
    """The key in ``Authorization: Bearer <key>``."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


async def read_body(request: Request) -> Body:
    """Read JSON or ``multipart/form-data``.

    Raises:
        Refusal: it is neither.
    """
    content = await request.body()
    kind = request.headers.get("content-type", "")
    if len(content) < _LARGE:
        return _parse(content, kind)
    return await asyncio.to_thread(_parse, content, kind)


def _parse(content: bytes, kind: str) -> Body:
    if kind.startswith("multipart/form-data"):
        return _parse_multipart(content, kind)
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Refusal(Problem.INVALID, "the request body is not a JSON object")
    return Body(fields)


def _parse_multipart(content: bytes, kind: str) -> Body:
    # Small enough to write here; Starlette's own reader needs one more package.
    header = Message()
    header["Content-Type"] = kind
    boundary = header.get_boundary()
    if not boundary:
        raise Refusal(Problem.INVALID, "the multipart body has no boundary")
    body = Body()
    for part in (b"\r\n" + content).split(b"\r\n--" + boundary.encode())[1:-1]:
        head, _, value = part.lstrip(b"\r\n").partition(b"\r\n\r\n")
        headers = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
        name = headers.get_param("name", header="content-disposition")
        if headers.get_filename() is not None:
            body.files[str(name)] = value
        else:
            body.fields[str(name)] = value.decode("utf-8", errors="replace")
    return body
