"""Hosts of a deployment, as far as one machine can play several: users, homes, working and temporary folders of their own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import psutil

from sora_pipeline_tests.deploy.places import ROOT

FIRST_USER = 64_000
"""User ids that nobody has."""
PROGRAMS = ("celery", "dagster", "dagster-daemon", "dagster-webserver")
KEPT = ("LANG", "LC_ALL", "TZ")
PYTHONPATH = os.pathsep.join([str(ROOT), *(each for each in sys.path if "site-packages" in each)])
"""The packages of this environment, for a Python that is not its own."""


class Machine:
    """A host: what its processes see is their own folders and what the network gives them.

    Args:
        folder: Of all hosts; each gets one in it that no other may read.
        number: Of this one.
        environment: What its processes have beside the folders.
        files: By path in the host's folder.
    """

    def __init__(
        self, folder: Path, number: int, environment: Mapping[str, str], files: Mapping[str, str]
    ) -> None:
        self.folder = folder / f"host-{number}"
        self._python, self._user = _who(FIRST_USER + number)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, Sequence[str]] = {}
        for name in ("home", "work", "tmp", "bin"):
            (self.folder / name).mkdir(parents=True)
        for name, content in files.items():
            (self.folder / name).write_text(content)
        programs = {"python": ""} | {name: str(Path(sys.prefix) / "bin" / name) for name in PROGRAMS}
        for program, script in programs.items():
            (self.folder / "bin" / program).write_text(f'#!/bin/sh\nexec {self._python} {script} "$@"\n')
        self._environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": PYTHONPATH,
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder / "work"),
            "TMPDIR": str(self.folder / "tmp"),
            "DAGSTER_HOME": str(self.folder / "home"),
            **environment,
        }
        self._close()

    def start(self, role: str, command: Sequence[str]) -> None:
        self._commands[role] = command
        with (self.folder.parent / f"{self.folder.name}-{role}.log").open("ab") as log:
            self._processes[role] = subprocess.Popen(
                command,
                cwd=self.folder / "work",
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_as_user(self._user),
            )

    def run(self, command: Sequence[str], timeout_s: float = 120) -> "subprocess.CompletedProcess[str]":
        """A command on this host, until it ends."""
        return subprocess.run(
            command,
            cwd=self.folder / "work",
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            **_as_user(self._user),
        )

    def ensure(self) -> None:
        """What was started runs, as under a service manager."""
        for role, process in list(self._processes.items()):
            if process.poll() is not None:
                self.start(role, self._commands[role])

    def pids(self, role: str) -> set[int]:
        """A process and all that it has started."""
        leader = self._processes[role].pid
        return {pid for pid in psutil.pids() if _session(pid) == leader}

    def kill(self, role: str) -> None:
        """Kill a process with all that it has started, at once."""
        for pid in self.pids(role):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._processes[role].wait()

    def replace(self, role: str) -> None:
        """Stop a process as a service manager does, and start another."""
        process = self._processes[role]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        self.kill(role)
        self.start(role, self._commands[role])

    def close(self) -> None:
        """End everything."""
        for role in self._processes:
            self.kill(role)

    def _close(self) -> None:
        for path in [self.folder, *self.folder.rglob("*")]:
            path.chmod(0o700)
            if self._user is not None:
                os.chown(path, self._user, self._user)


@cache
def _who(user: int) -> tuple[str, int | None]:
    """A Python that this user can run, and the user; or ours, and nobody else."""
    if os.geteuid() == 0:
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        found = shutil.which(name, path="/usr/local/bin:/usr/bin")
        for python in filter(None, (sys.executable, found)):
            with contextlib.suppress(OSError):
                tried = subprocess.run(
                    [python, "-c", "import sora_pipeline, dagster, sora_pipeline_tests"],
                    cwd="/",
                    env={"PYTHONPATH": PYTHONPATH},
                    capture_output=True,
                    check=False,
                    **_as_user(user),
                )
                if tried.returncode == 0:
                    return python, user
    return sys.executable, None


def _as_user(user: int | None) -> dict[str, object]:
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def _session(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return -1
