"""Runs a command and measures everything it starts: CPU seconds, peak memory, number of processes.

A process belongs to the command if a marker in its environment says so, which it inherits however far it detaches itself
(new sessions, dead parents). CPU is counted twice over and the larger figure taken: from samples, which miss the end of
short lives, and from the kernel's accounts of ended processes, which miss those that nobody waited for.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARKER = "BENCH_PROCESS_TREE"
MEMORY_EVERY_S = 1.0
"""Proportional memory has to be asked for page by page, so it is looked at less often than CPU."""
STOP_GRACE_S = 40.0
LINGER_S = 3.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Usage:
    """What a command and everything it started has used.

    Attributes:
        cpu_s: User and system seconds; the larger of the next two.
        cpu_sampled_s: As seen by looking at every process again and again.
        cpu_accounted_s: As the kernel accounted for ended processes.
        peak_memory_bytes: The largest sum over all processes at one moment.
        memory_kind: ``pss`` (shared pages divided among their users) or, where the system has none, ``rss``.
        processes: How many processes were seen.
        cpu_by_command_s: Sampled CPU seconds, by the first words of the command line.
    """

    cpu_s: float
    cpu_sampled_s: float
    cpu_accounted_s: float
    peak_memory_bytes: int
    memory_kind: str
    processes: int
    cpu_by_command_s: dict[str, float]


class ProcessTree:
    """A running command and all its descendants. Call ``sample`` often; leave the context to end what is left.

    Args:
        command: The command.
        environment: Its whole environment, to which the marker is added.
        folder: Its working directory.
        log: File that gets its output.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        adopt_orphans()
        self._mark = uuid.uuid4().hex
        self._strangers = set(psutil.pids())
        self._living: dict[int, psutil.Process] = {}
        self._cpu_seen: dict[tuple[int, float], float] = {}
        self._names: dict[tuple[int, float], str] = {}
        self._accounted_s = 0.0
        self._peak_memory = 0
        self._memory_kind = "pss" if sys.platform == "linux" else "rss"
        self._memory_looked_at = 0.0
        with log.open("wb") as out:
            self._root = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment, MARKER: self._mark},
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for the benchmark, which ends things in order
            )

    @property
    def exit_code(self) -> int | None:
        """The command's exit code; None while it runs."""
        return self._root.returncode

    def sample(self) -> None:
        """Look at every process once."""
        self._find_new()
        for pid, process in list(self._living.items()):
            try:
                times = process.cpu_times()
                self._cpu_seen[pid, process.create_time()] = times.user + times.system
            except psutil.Error:
                del self._living[pid]
        if time.monotonic() - self._memory_looked_at >= MEMORY_EVERY_S:
            self._memory_looked_at = time.monotonic()
            self._note_names()
            self._peak_memory = max(self._peak_memory, sum(map(self._memory, self._living.values())))
        self._reap()

    def stop(self) -> None:
        """Ask the command to end, and end by force what is left of it."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                self._root.send_signal(signal.SIGINT)
            self._sample_until(lambda: self.exit_code is not None, STOP_GRACE_S)
        self._sample_until(lambda: not self._running(), LINGER_S)
        while running := self._running():
            for process in running:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._sample_until(lambda: not self._running(), 1.0)

    def usage(self) -> Usage:
        """What was used so far."""
        sampled = sum(self._cpu_seen.values())
        by_command: defaultdict[str, float] = defaultdict(float)
        for process, seconds in self._cpu_seen.items():
            by_command[self._names.get(process, "lived too short to be seen")] += seconds
        ranking = sorted(by_command.items(), key=lambda each: -each[1])
        return Usage(
            cpu_s=max(sampled, self._accounted_s),
            cpu_sampled_s=sampled,
            cpu_accounted_s=self._accounted_s,
            peak_memory_bytes=self._peak_memory,
            memory_kind=self._memory_kind,
            processes=len(self._cpu_seen),
            cpu_by_command_s={name: round(seconds, 2) for name, seconds in ranking},
        )

    def __enter__(self) -> "ProcessTree":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _find_new(self) -> None:
        for pid in set(psutil.pids()) - self._strangers - self._living.keys():
            try:
                process = psutil.Process(pid)
                environment = process.environ()
            except psutil.Error:  # gone, ended, or somebody else's
                continue
            if environment.get(MARKER) == self._mark:
                self._living[pid] = process
            elif environment:  # an empty one belongs to a program that is just being loaded: look again
                self._strangers.add(pid)
        self._strangers &= set(psutil.pids())  # numbers are used again

    def _note_names(self) -> None:
        for pid, process in self._living.items():
            with contextlib.suppress(psutil.Error):
                if name := _short(process.cmdline()):
                    self._names[pid, process.create_time()] = name

    def _memory(self, process: psutil.Process) -> int:
        with contextlib.suppress(psutil.Error):
            full = process.memory_full_info() if self._memory_kind == "pss" else process.memory_info()
            return int(getattr(full, self._memory_kind))
        return 0

    def _reap(self) -> None:
        """Take the kernel's account of ended processes that are our children: the command itself, and orphans."""
        for pid in {self._root.pid, *self._living}:
            try:
                ended, status, used = os.wait4(pid, os.WNOHANG)
            except (
                ChildProcessError
            ):  # somebody else's child, whose parent has its account and then hands it on
                continue
            if ended:
                self._accounted_s += used.ru_utime + used.ru_stime
                self._living.pop(pid, None)
                if pid == self._root.pid:
                    self._root.returncode = os.waitstatus_to_exitcode(status)

    def _running(self) -> list[psutil.Process]:
        self._find_new()
        return list(self._living.values())

    def _sample_until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline:
            self.sample()
            time.sleep(0.1)


def _short(command: Sequence[str]) -> str:
    """The first words of a command line, without the interpreter, options and folders."""
    words = [Path(word).name if word.startswith("/") else word for word in command]
    plain = [word for word in words if not word.startswith(("-", "python"))]
    return " ".join(plain[:3])[:44]


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that their accounts come here and not to nobody."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
