"""A webhook that real HTTP goes to: it keeps what it was told, and misbehaves as asked."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET_PATH = "/services/T000/B000/a-very-secret-address"
DROP, HANG = "drop", "hang"


@dataclass
class Webhook:
    """Answers each call with the next status, ``DROP`` or ``HANG``; with 200 when none is left."""

    port: int
    told: list[dict[str, Any]] = field(default_factory=list)
    calls: int = 0
    answers: list[int | str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{SECRET_PATH}"

    @property
    def texts(self) -> list[str]:
        return [each["text"] for each in self.told]


def words(message: dict[str, Any]) -> str:
    """Everything that a message shows."""
    return "\n".join(block["text"]["text"] for block in message["blocks"])


def require_what_slack_takes(message: dict[str, Any]) -> None:
    assert message["text"]
    assert 0 < len(message["blocks"]) <= 50
    for block in message["blocks"]:
        kind, text = block["type"], block["text"]
        assert (kind, text["type"]) in {("header", "plain_text"), ("section", "mrkdwn")}
        assert 0 < len(text["text"]) <= (150 if kind == "header" else 3000)


@contextmanager
def running_webhook() -> Iterator[Webhook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            webhook.calls += 1
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = webhook.answers.pop(0) if webhook.answers else 200
            if answer == HANG:
                webhook.over.wait(60)
            if isinstance(answer, str):
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            if answer == 200:
                webhook.told.append(body)
            self.send_response(answer)
            for name, value in webhook.headers.items():
                self.send_header(name, value)
            said = f"answered {answer} at {self.path}".encode()
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    webhook = Webhook(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield webhook
    finally:
        webhook.over.set()
        server.shutdown()
        server.server_close()
