"""Listens: the blocking entry of the command line and of ``python -m sora_pipeline.sandbox``."""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.sandbox.app import build
from sora_pipeline.sandbox.connections import ConnectionMiddleware, reset
from sora_pipeline.sandbox.emulator import Emulator
from sora_pipeline.sandbox.settings import Outage, SandboxSettings

BACKLOG = 2048
_REFUSE_S = 5  # how long the port stays closed where nothing was said
_LOCK_WAIT_S = 5  # an earlier server may still be on its way out


class SandboxInUseError(SoraPipelineError):
    """Raised where another sandbox runs on the same state folder."""


def serve(settings: SandboxSettings) -> None:
    """Serve until stopped by a signal, or idle for long enough.

    Raises:
        SandboxInUseError: another sandbox runs on the same state folder.
        OSError: the port is taken.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with _owned(settings.state_dir), contextlib.closing(_bind(settings)) as listener:
        app, emulator = build(settings)
        server = SandboxServer(app, emulator, listener)
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


class SandboxServer(uvicorn.Server):
    """uvicorn, which also says when it is ready, stops when idle, and can close its port for a while.

    Args:
        app: The application.
        emulator: Asked for its settings and jobs.
        listener: The bound socket.
    """

    def __init__(self, app: ConnectionMiddleware, emulator: Emulator, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                backlog=BACKLOG,
                # A pooled connection that closes under a submit looks like a lost answer; only faults may do that.
                timeout_keep_alive=300,
                timeout_graceful_shutdown=1,
            )
        )
        self._app = app
        self._emulator = emulator
        self._listener = listener
        self._address = listener.getsockname()[:2]
        self._closed: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell that it is ready."""
        await super().startup(sockets)
        url = _url(*self._address)
        if self._emulator.settings.ready_file is not None:
            _write_ready_file(self._emulator, url)
        sys.stdout.write(f"Sandbox provider ready at {url}\n")
        sys.stdout.flush()

    async def on_tick(self, counter: int) -> bool:
        """Look every 0.1 s whether to stop or to close the port."""
        settings = self._emulator.settings
        if settings.outage is Outage.REFUSE and self._closed is None:
            self._closed = asyncio.create_task(self._close_port(settings.outage_s or _REFUSE_S))
        patience = settings.exit_when_idle_s
        if patience and self._app.idle_s > patience:
            self.should_exit |= not any(job.is_unfinished for job in self._emulator.store.open())
        return await super().on_tick(counter)

    async def _close_port(self, seconds: float) -> None:
        for server in self.servers:
            server.close()
        self._listener.close()
        for connection in list(self.server_state.connections):
            transport = connection.transport
            if isinstance(transport, asyncio.Transport):
                reset(transport)
        await asyncio.sleep(seconds)
        self._listener = _listen(*self._address)
        loop = asyncio.get_running_loop()
        self.servers = [await loop.create_server(self._protocol, sock=self._listener, backlog=BACKLOG)]
        self._emulator.change({"outage": Outage.NONE})
        self._closed = None

    def _protocol(self) -> asyncio.Protocol:
        make = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]


@contextlib.contextmanager
def _owned(state_dir: Path) -> Iterator[None]:
    """Hold the state folder; the lock goes with the process, however that ends."""
    with (state_dir / "server.lock").open("w") as lock:
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise SandboxInUseError(f"another sandbox runs on {state_dir}") from None
                time.sleep(0.05)
        yield


def _bind(settings: SandboxSettings) -> socket.socket:
    try:
        return _listen(settings.host, settings.port)
    except OSError:
        if not (settings.prefer_port and settings.port):
            raise
        return _listen(settings.host, 0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # A restart takes its port again, although old connections still linger.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Listening at once: two that prefer the same port must not both get it.
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only shown
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _write_ready_file(emulator: Emulator, url: str) -> None:
    target = emulator.settings.ready_file
    assert target is not None
    content = {
        "url": url,
        "pid": os.getpid(),
        "api_key": emulator.settings.api_key.get_secret_value(),
        "instance": emulator.instance,
    }
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.touch(mode=0o600)
    part.write_text(json.dumps(content))
    part.replace(target)
