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

_FOLDER = "living"


class Life(StrEnum):
    """What is known of a run's processes."""

    UNKNOWN = "unknown"  # none ever showed itself here
    LIVES = "lives"
    ENDED = "ended"  # in order; Dagster may not have noted it yet
    KILLED = "killed"


@contextmanager
def living(home: Path, run_id: str) -> Iterator[None]:
    """Show that this process works on a run, while the body goes on."""
    folder = home / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    unique = uuid.uuid4().hex[:8]
    hidden, shown = folder / f".{unique}", folder / f"{run_id}.{unique}"
    with hidden.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        hidden.rename(shown)  # only now: without its lock it would look killed
        try:
            yield
        finally:
            file.write(Life.ENDED)
            file.flush()


def life_of(home: Path, run_id: str) -> Life:
    """What is known of a run."""
    found = {_life(path) for path in (home / _FOLDER).glob(f"{run_id}.*")}
    return next((life for life in (Life.LIVES, Life.KILLED, Life.ENDED) if life in found), Life.UNKNOWN)


def shown_runs(home: Path) -> dict[str, Life]:
    """Every run that ever showed itself and was not forgotten since."""
    run_ids = {path.name.rpartition(".")[0] for path in (home / _FOLDER).glob("[!.]*.*")}
    return {run_id: life_of(home, run_id) for run_id in sorted(run_ids)}


def forget(home: Path, run_id: str) -> None:
    """Take a run off the list that is over."""
    for path in (home / _FOLDER).glob(f"{run_id}.*"):
        path.unlink(missing_ok=True)


def _life(path: Path) -> Life | None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # forgotten just now
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Life.LIVES
    else:
        return Life.ENDED if os.read(descriptor, 1) else Life.KILLED
    finally:
        os.close(descriptor)
