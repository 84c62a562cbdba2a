"""Which run workers on this machine still live: each holds a lock on a file for as long as it works.

A lock goes with its process, however that ends, and neither a clock nor a reused process id can feign one. Runs that
work elsewhere, with a Dagster home of their own, are unknown here; their launcher watches over them.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path


class RunProcess(StrEnum):
    """What is known of a run's processes."""

    UNKNOWN = "unknown"  # none ever showed itself here
    LIVES = "lives"
    ENDED = "ended"  # in order; Dagster may not have noted it yet
    KILLED = "killed"


@contextmanager
def run_lock(folder: Path, run_id: str) -> Iterator[None]:
    """Show that this process works on a run, while the body goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex[:8]
    hidden, shown = folder / f".{unique}", folder / f"{run_id}.{unique}"
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(shown)  # only now: without its lock it would look killed
        try:
            yield
        finally:
            file.write(RunProcess.ENDED)
            file.flush()


def process_of(folder: Path, run_id: str) -> RunProcess:
    """What is known of a run."""
    states = {_life(path) for path in folder.glob(f"{run_id}.*")}
    return next(
        (life for life in (RunProcess.LIVES, RunProcess.KILLED, RunProcess.ENDED) if life in states),
        RunProcess.UNKNOWN,
    )


def locked_runs(folder: Path) -> dict[str, RunProcess]:
    """Every run that ever showed itself and was not forgotten since."""
    run_ids = {path.name.rpartition(".")[0] for path in folder.glob("[!.]*.*")}
    return {run_id: process_of(folder, run_id) for run_id in sorted(run_ids)}


def forget(folder: Path, run_id: str) -> None:
    """Take a run off the list that is over."""
    for path in folder.glob(f"{run_id}.*"):
        path.unlink(missing_ok=True)


def _life(path: Path) -> RunProcess | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # forgotten just now
        return None
    try:
        if is_held(descriptor):
            return RunProcess.LIVES
        return RunProcess.ENDED if os.read(descriptor, 1) else RunProcess.KILLED
    finally:
        os.close(descriptor)


def is_held(descriptor: int) -> bool:
    """Whether a process holds the lock on a file; it went with its process otherwise."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
