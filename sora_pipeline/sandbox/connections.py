"""What happens below HTTP: cut connections, and the count of requests that says whether the server is idle."""

import asyncio
import contextlib
import socket
import struct
import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_TRANSPORT = "sandbox.transport"


class DropConnection(Exception):
    """Raised where the client gets no answer but a closed connection.

    Args:
        reset: Closed with a TCP reset, and not with a polite end.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__("the connection is cut on purpose")
        self.reset = reset


class ConnectionMiddleware:
    """Sees every request first: counts it, and notes its transport so that it can be cut.

    Args:
        app: The application behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inside = 0
        self._last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # uvicorn hands out its request cycle's own method; both of its HTTP implementations keep the transport there.
        scope[_TRANSPORT] = getattr(getattr(receive, "__self__", None), "transport", None)
        self._inside += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._inside -= 1
            self._last = time.monotonic()

    @property
    def idle_s(self) -> float:
        """Seconds since the last request; 0 while there is one."""
        return 0 if self._inside else time.monotonic() - self._last


def transport_of(scope: Scope) -> asyncio.Transport | None:
    """The connection a request came over."""
    transport: asyncio.Transport | None = scope.get(_TRANSPORT)
    return transport


async def cut(request: Request, error: Exception) -> Response:
    """Starlette's exception handler of :class:`DropConnection`."""
    transport = transport_of(request.scope)
    if transport is not None:
        if isinstance(error, DropConnection) and error.reset:
            reset(transport)
        else:
            transport.close()
        await gone(request)
    return Response(status_code=500)  # nobody is there to read it


def reset(transport: asyncio.Transport) -> None:
    """Close with a TCP reset."""
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def gone(request: Request) -> None:
    """Wait until the server has noticed that the connection is closed."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
