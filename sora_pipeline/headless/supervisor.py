"""Runs a command and ends it, and all its children, when this process's standard input closes.

The parent holds the other end of that pipe, so even a parent that was killed leaves no daemon behind.
Started as ``python -m sora_pipeline.headless.supervisor COMMAND …``; imports nothing heavy.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

GRACE_S = 15.0
LOOK_S = 0.1
AGAIN_S = 1.0
"""Seconds before a helper that ended is started again."""

Process = subprocess.Popen[bytes]


class Supervisor:
    """Looks after a command and its helpers until the command or the parent ends; leaves none of them behind."""

    def __init__(self) -> None:
        self.ending = False
        self._helpers: list[_Helper] = []
        # A shell that puts us into the background has SIGINT ignored, children inherit that, and Dagster stops by SIGINT.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self._end())
        threading.Thread(target=self._wait_for_parent, daemon=True).start()

    def help_by(self, command: Sequence[str]) -> "_Helper":
        """Run a command that the main one needs: started again whenever it ends."""
        self._helpers.append(_Helper(command))
        return self._helpers[-1]

    def run(self, command: Sequence[str]) -> int:
        """Run the main command; returns its exit code."""
        child = start(command)
        while child.poll() is None:
            if self.ending:
                _stop(child)
                break
            for helper in self._helpers:
                helper.look_after()
            time.sleep(LOOK_S)
        signal_group(child, signal.SIGKILL)  # what did not end with the command itself
        return child.wait()

    def _wait_for_parent(self) -> None:
        # Not through sys.stdin: a thread that sleeps in its buffer's lock would break the interpreter's own end.
        while os.read(0, 1):
            pass
        self._end()

    def _end(self) -> None:
        self.ending = True

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for helper in self._helpers:
            signal_group(helper.process, signal.SIGKILL)
            helper.process.wait()


class _Helper:
    """A command that is started again whenever it ends."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._again_at = 0.0
        self.process = start(command)

    def look_after(self) -> None:
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if not self._again_at:
            signal_group(self.process, signal.SIGKILL)  # what did not end with it
            self._again_at = now + AGAIN_S
        elif now > self._again_at:
            self._again_at = 0.0
            self.process = start(self._command)


def start(command: Sequence[str]) -> Process:
    """Start a command in a session of its own."""
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)


def signal_group(leader: Process, number: int) -> None:
    """Send a signal to a command and all its children."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, number)


def _stop(child: Process) -> None:
    """Ask the command to stop, and insist after a while."""
    child.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_S)
    signal_group(child, signal.SIGKILL)


def main(command: Sequence[str]) -> int:
    """Run until the command ends or the parent does; returns the command's exit code."""
    with Supervisor() as supervisor:
        return supervisor.run(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
