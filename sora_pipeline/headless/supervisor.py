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

GRACE_S = 15.0


def main(command: list[str]) -> int:
    """Run until the command ends or the parent does; returns the command's exit code."""
    # A shell that puts us into the background has SIGINT ignored, children inherit that, and Dagster stops by SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_wait_for_parent, args=(child,), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # In a thread: the main one waits for the child, and holds what asking for its end needs.
        signal.signal(number, lambda *_: threading.Thread(target=_end, args=(child,), daemon=True).start())
    code = child.wait()
    _signal_group(child, signal.SIGKILL)  # what did not end with the command itself
    return code


def _wait_for_parent(child: "subprocess.Popen[bytes]") -> None:
    # Not through sys.stdin: a thread that sleeps in its buffer's lock would break the interpreter's own end.
    while os.read(0, 1):
        pass
    _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Ask the command to stop, and insist after a while."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal_group(child, signal.SIGKILL)


def _signal_group(child: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
