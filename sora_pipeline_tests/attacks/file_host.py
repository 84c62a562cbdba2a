"""A web host of files that tests break and mend: it answers each path with its bytes, a status, or not at all."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CUT = "cut"
"""Half of the bytes, then the connection is closed."""


@dataclass
class FileHost:
    """What lies there, and how it answers at present.

    Attributes:
        port: Where it listens.
        files: Bytes by path.
        broken: Answers by path instead of the file: a status or ``CUT``; ``*`` stands for all paths.
        asked: How often each path was asked for.
    """

    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, int | str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def running_file_host() -> Iterator[FileHost]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked[self.path] += 1
            answer = host.broken.get(self.path, host.broken.get("*"))
            content = host.files.get(self.path)
            if isinstance(answer, int) or content is None:
                self.send_response(answer if isinstance(answer, int) else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if answer == CUT else content)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = FileHost(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
