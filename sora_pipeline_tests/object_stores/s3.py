"""An S3 API on this machine, which can be told to refuse everything for a while, to be slow, and to be a lookalike of S3."""

import logging
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import boto3
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server

BUCKET = "videos"
SECRET = "secret-of-the-bucket"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
INTERNAL_ERROR = b"<Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"
NOT_IMPLEMENTED = (
    b"<Error><Code>NotImplemented</Code><Message>A header you provided implies functionality that is not "
    b"implemented</Message></Error>"
)
Lookalike = Literal["", "terse", "refuses conditions", "ignores conditions"]
"""How an S3 of another maker differs: it does not say which condition did not hold, or takes no conditions."""


class ObjectStore:
    """moto's server, with one bucket, behind a door that can be shut.

    Attributes:
        refusing: Whether every request is answered with 503.
        delay_s: Seconds that every other request waits.
        refused: How many requests were answered so.
        losing: Whether the next object is stored, and the answer lost.
        lookalike: What it is instead of Amazon's.
        asked: The requests since it was started, as method, path and query.
    """

    def __init__(self) -> None:
        self.refusing, self.delay_s, self.refused = False, 0.0, 0
        self.losing = False
        self.lookalike: Lookalike = ""
        self.asked: list[tuple[str, str, str]] = []
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._api = create_backend_app("s3")
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.client = boto3.client("s3", endpoint_url=self.url, **_client_options())
        self.client.create_bucket(Bucket=BUCKET)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """What the server does with a request."""
        self.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")))
        if self.refusing:
            self.refused += 1
            return _answer(environ, start_response, "503 Slow Down", SLOW_DOWN)
        time.sleep(self.delay_s)
        if self.losing and environ["REQUEST_METHOD"] == "PUT":
            self.losing = False
            b"".join(self._api(environ, lambda *_: lambda _: None))
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [INTERNAL_ERROR]
        if self.lookalike == "refuses conditions" and "HTTP_IF_NONE_MATCH" in environ:
            return _answer(environ, start_response, "501 Not Implemented", NOT_IMPLEMENTED)
        if self.lookalike == "ignores conditions":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        return (
            self._terse(environ, start_response)
            if self.lookalike == "terse"
            else self._api(environ, start_response)
        )

    def _terse(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: list[Any] = []
        content = b"".join(self._api(environ, lambda *given: answer.extend(given)))
        status, headers = answer[:2]
        if status.startswith("412"):
            content = re.sub(rb"<Condition>.*?</Condition>", b"", content)
            headers = [each for each in headers if each[0].lower() != "content-length"]
        start_response(status, headers)
        return [content]

    def environment(self) -> dict[str, str]:
        """The usual variables, by which drivers find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put(self, name: str, content: bytes) -> str:
        """Store an object; returns its URI."""
        self.client.put_object(Bucket=BUCKET, Key=name, Body=content)
        return f"s3://{BUCKET}/{name}"

    def names(self, prefix: str) -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def copy_to(self, folder: Path, prefix: str) -> Path:
        """A local copy of all objects whose names begin like this; returns where the prefix is there."""
        for name in self.names(prefix):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            self.client.download_file(BUCKET, name, str(folder / name))
        return folder / prefix

    def empty(self) -> None:
        """Remove all objects."""
        for name in self.names(""):
            self.client.delete_object(Bucket=BUCKET, Key=name)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()


def _answer(environ: dict[str, Any], start_response: Any, status: str, content: bytes) -> list[bytes]:
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response(status, [("Content-Type", "application/xml")])
    return [content]


def _client_options() -> dict[str, str]:
    return {"aws_access_key_id": "test", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
