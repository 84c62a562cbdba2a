"""The API on loopback: real HTTP, no cost. ``python tests/emulator.py [PORT]`` serves it for the command line."""

import itertools
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from sora_pipeline.clip import Size
from sora_pipeline.provider.conformance import Scenario
from sora_pipeline.provider.protocol import SubmitRequest

KEY = "example-key"
RENDER_S = 0.2
REFUSALS = {
    Scenario.POLICY: (422, "moderated"),
    Scenario.INVALID: (400, "invalid"),
    Scenario.BAD_KEY: (401, "key"),
    Scenario.NO_BALANCE: (402, "credit"),
    Scenario.MODEL_GONE: (410, "model"),
}
FIRST_REFUSALS = {Scenario.RATE_LIMITED: 429, Scenario.UNAVAILABLE: 503}
FAILURES = {
    Scenario.LATE_POLICY: "moderated",
    Scenario.JOB_FAILED: "internal",
    Scenario.BUSY: "busy",
    Scenario.LATE_WORDING: "unheard-of",
}


class ExampleEmulator:
    """The server and its books; a prompt names the scenario that it meets."""

    key = KEY

    def __init__(self, port: int = 0) -> None:
        self.clips: dict[str, dict[str, Any]] = {}
        self.refused: set[str] = set()
        self.leaks = 0
        self._numbers = itertools.count(1)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def play(self, scenario: Scenario) -> SubmitRequest:
        prompt = f"a fox, number {next(self._numbers)} [{scenario}]"
        return SubmitRequest(prompt, "example-1", 5, Size(1280, 720))

    def billed(self) -> int:
        return len(self.clips)

    def key_leaks(self) -> int:
        return self.leaks

    def serve(self) -> None:
        self._server.serve_forever(0.05)

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, prompt: str) -> dict[str, Any]:
        """Accept a clip, and bill it."""
        number = f"clip-{len(self.clips) + 1}"
        self.clips[number] = {"id": number, "prompt": prompt, "since": time.monotonic()}
        return self.clips[number]

    def shown(self, clip: dict[str, Any]) -> dict[str, Any]:
        """A clip as the API tells of it."""
        age, scenario = time.monotonic() - clip["since"], _scenario(clip["prompt"])
        if age < RENDER_S or scenario is Scenario.SLOW:
            return {"id": clip["id"], "state": "rendering"}
        if scenario in FAILURES:
            return {"id": clip["id"], "state": "failed", "problem": FAILURES[scenario], "detail": "it failed"}
        late = scenario is Scenario.LATE_OUTPUT and age < 3 * RENDER_S
        return {
            "id": clip["id"],
            "state": "ready",
            "file": None if late else f"{self.url}/files/{clip['id']}",
        }


def _scenario(prompt: str) -> Scenario:
    return next((each for each in Scenario if prompt.endswith(f"[{each}]")), Scenario.ACCEPTED)


def _handler(emulator: ExampleEmulator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt, scenario = body["prompt"], _scenario(body["prompt"])
            if not self._has_key():
                self._answer(401, {"problem": "key", "detail": "unknown key"})
            elif scenario in REFUSALS:
                status, problem = REFUSALS[scenario]
                self._answer(status, {"problem": problem, "detail": f"refused: {problem}"})
            elif scenario in FIRST_REFUSALS and prompt not in emulator.refused:
                emulator.refused.add(prompt)
                self._answer(FIRST_REFUSALS[scenario], {"detail": "not now"}, {"Retry-After": "1"})
            else:
                clip = emulator.take(prompt)
                if scenario is Scenario.LOST_ANSWER:
                    self.close_connection = True
                    return
                self._answer(201, {"clip": {"id": clip["id"], "state": "queued"}})

        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "files":
                emulator.leaks += "Authorization" in self.headers
                self._answer(200, {"this": "would be a video"})
            elif not self._has_key():
                self._answer(401, {"problem": "key", "detail": "unknown key"})
            elif kind == "account":
                self._answer(200, {"account": {"name": "example"}})
            elif kind == "models" and name == "example-1":
                self._answer(200, {"model": {"name": name}})
            elif kind == "models":
                self._answer(404, {"problem": "model", "detail": f"no model {name}"})
            elif kind == "clips" and name in emulator.clips:
                self._answer(200, {"clip": emulator.shown(emulator.clips[name])})
            else:
                self._answer(404, {"problem": "unknown", "detail": "no such thing"})

        def _has_key(self) -> bool:
            return self.headers.get("Authorization") == f"Bearer {KEY}"

        def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


if __name__ == "__main__":
    server = ExampleEmulator(int(sys.argv[1]) if len(sys.argv) > 1 else 8123)
    print(server.url, flush=True)
    server.serve()
