"""A sandbox for programs: found where one already runs, started as a process of its own where not.

Imported by every run worker, so it takes little along: the server's own modules are loaded in the server's process.
"""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError

if TYPE_CHECKING:
    from sora_pipeline.sandbox.settings import SandboxSettings

READY_FILE = "ready.json"
LOG_FILE = "sandbox.log"
START_TIMEOUT_S = 15
STOP_TIMEOUT_S = 10
IDLE_EXIT_S = 120
ABANDONED_S = 900  # a test run that was killed leaves no server behind for longer
_PREFIX = "SORA_SANDBOX_"
# Processes started here, so that they are reaped when they end.
_started: dict[int, subprocess.Popen[bytes]] = {}


class SandboxStartError(SoraPipelineError):
    """The sandbox did not come up; the text names its log and holds the last lines."""

    code = "sandbox"


@dataclass(frozen=True, slots=True)
class SandboxEndpoint:
    """A sandbox that answers.

    Attributes:
        started: Whether this call started it.
        instance: Its random name, which ``/sandbox/health`` repeats.
    """

    url: str
    api_key: str = field(repr=False)
    pid: int
    started: bool
    instance: str


def ensure_sandbox(state_dir: Path) -> SandboxEndpoint:
    """The sandbox of this state folder, started if it does not answer; safe to call from many processes at once.

    It keeps the port it had last where that is free, takes further settings from the environment, and stops
    by itself when it has been idle for two minutes.

    Raises:
        SandboxStartError: it did not come up.
    """
    state_dir = state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    with _alone(state_dir):
        last = _read_ready_file(state_dir)
        if last is not None and _answers(last):
            return last
        environment = dict(os.environ)
        environment.update(
            _variables(host="127.0.0.1", prefer_port=True, exit_when_idle_s=IDLE_EXIT_S, state_dir=state_dir)
        )
        if last is not None:
            environment[f"{_PREFIX}PORT"] = str(urllib.parse.urlsplit(last.url).port)
        return _start(state_dir, environment)


def stop_sandbox(state_dir: Path) -> bool:
    """Stop the sandbox of this state folder; whether there was one."""
    state_dir = state_dir.resolve()
    if not state_dir.is_dir():
        return False
    with _alone(state_dir):
        endpoint = _read_ready_file(state_dir)
        if endpoint is None or not _answers(endpoint):
            return False
        _stop(endpoint)
        return True


@contextlib.contextmanager
def running_sandbox(settings: "SandboxSettings") -> Iterator[SandboxEndpoint]:
    """A sandbox in a process of its own with exactly these settings, stopped at the end.

    Raises:
        SandboxStartError: it did not come up.
    """
    state_dir = settings.state_dir.resolve()
    state_dir.mkdir(parents=True, exist_ok=True)
    settings = settings.model_copy(
        update={"state_dir": state_dir, "exit_when_idle_s": settings.exit_when_idle_s or ABANDONED_S}
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIX)}
    endpoint = _start(state_dir, {**environment, **settings.to_environment()})
    try:
        yield endpoint
    finally:
        _stop(endpoint)


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    with (state_dir / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _variables(**values: object) -> dict[str, str]:
    return {f"{_PREFIX}{name.upper()}": str(value) for name, value in values.items()}


def _start(state_dir: Path, environment: Mapping[str, str]) -> SandboxEndpoint:
    ready_file = {f"{_PREFIX}READY_FILE": str(state_dir / READY_FILE)}
    with (state_dir / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sora_pipeline.sandbox"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**environment, **ready_file},
            start_new_session=True,  # it outlives the terminal and the run that started it
        )
    _started[process.pid] = process
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        endpoint = _read_ready_file(state_dir)
        if endpoint is not None and endpoint.pid == process.pid and _answers(endpoint):
            return replace(endpoint, started=True)
        time.sleep(0.03)
    what = (
        "did not answer in time" if process.poll() is None else f"ended with exit code {process.returncode}"
    )
    process.kill()
    process.wait()
    raise SandboxStartError(f"the sandbox {what}; the end of {state_dir / LOG_FILE}:\n{_log_end(state_dir)}")


def _log_end(state_dir: Path, lines: int = 15) -> str:
    text = (state_dir / LOG_FILE).read_text(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _read_ready_file(state_dir: Path) -> SandboxEndpoint | None:
    """Where the last sandbox of this folder was ready; it may be gone."""
    try:
        content = json.loads((state_dir / READY_FILE).read_text())
        return SandboxEndpoint(
            url=content["url"],
            api_key=content["api_key"],
            pid=content["pid"],
            started=False,
            instance=content["instance"],
        )
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _answers(endpoint: SandboxEndpoint) -> bool:
    """Whether this very sandbox answers there, and not another program that got its port."""
    address = urllib.parse.urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=3)
    try:
        connection.request("GET", "/sandbox/health")
        health = json.loads(connection.getresponse().read())
        return isinstance(health, dict) and health.get("instance") == endpoint.instance
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _stop(endpoint: SandboxEndpoint) -> None:
    process = _started.pop(endpoint.pid, None)
    with contextlib.suppress(ProcessLookupError):
        os.kill(endpoint.pid, signal.SIGTERM)
    if process is not None:
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _answers(endpoint) and time.monotonic() < deadline:
        time.sleep(0.05)
