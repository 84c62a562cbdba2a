"""An S3 API that has no object, and takes the head of an upload without a word."""

import socket
import threading
from contextlib import suppress

NOTHING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class SilentStore:
    """A server on this machine.

    Attributes:
        url: Its address.
        uploads: How many uploads were begun.
    """

    def __init__(self) -> None:
        self.uploads = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listening, *self._open):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while head := self._head(connection):
                if head.startswith(b"PUT"):
                    self.uploads += 1
                    return  # the connection stays open
                connection.sendall(NOTHING)

    def _head(self, connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (part := connection.recv(65536)):
                return b""
            received += part
        return received
