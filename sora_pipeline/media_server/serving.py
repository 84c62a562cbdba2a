"""Listens: for the command `sora-pipeline media`, and beside the UI of `sora-pipeline dev`."""

import importlib.util
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger
from sora_pipeline.media_server.links import MediaLinks

if TYPE_CHECKING:
    import uvicorn


class MediaServerError(SoraPipelineError):
    """Raised where the media server cannot be started; says why."""


def serve(ledger: Ledger, links: MediaLinks, listener: socket.socket) -> None:
    """Serve until a signal comes."""
    _server(ledger, links).run(sockets=[listener])


@contextmanager
def serving(ledger: Ledger, links: MediaLinks, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread while the body runs; it ends with this process, however that ends."""
    server = _server(ledger, links)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="media", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(5)


def listen(host: str, port: int, what: str) -> socket.socket:
    """A socket that listens; 0: at any port that is free.

    Raises:
        MediaServerError: the address cannot be had.
    """
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise MediaServerError(f"the media server needs {', '.join(missing)}", "media_server")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # whoever comes before the server is ready waits, and is not refused
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MediaServerError(f"{what} cannot have {host}:{port}: {reason}", "port_taken") from None
    return listener


def _server(ledger: Ledger, links: MediaLinks) -> "uvicorn.Server":
    import uvicorn

    from sora_pipeline.media_server.app import build

    config = uvicorn.Config(
        build(ledger, links), log_level="critical", access_log=False, timeout_graceful_shutdown=1
    )
    return uvicorn.Server(config)
