"""Named fault points: a process that comes to one dies on the spot, as often as its plan says.

The plan is an environment variable, so that every process of a daemon's family has it; who has fired is told by files
that only one process can make, so that the family as a whole fires each point just so often.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil

PLAN, FOLDER = "KILL_PLAN", "KILL_FOLDER"
PEACE = "peace"

POINTS = {
    "before_intent": "a run, before it commits the intent to submit",
    "after_intent": "a run, after it committed the intent and before it sends the request",
    "in_the_post": "a run, while the provider has its request and the answer is still to come",
    "before_accept": "a run that has the answer, before it commits it",
    "mid_poll": "whoever polls, with the answer in hand",
    "before_generation_shown": "a run that has recorded the answer to a submit, before it tells Dagster",
    "before_video_shown": "a run that has recorded a video, before it tells Dagster",
    "between_waves": "a run that has submitted some of its clips and waits for slots",
    "between_videos": "a run that has begun to fetch what is rendered, and has videos still to come",
    "mid_download": "a run that has downloaded a part of a video",
    "before_collect": "a run, between a video's final name and the ledger's note of it",
    "mid_publish": "a run that has replaced metadata.parquet, and not the other files",
    "after_reserve": "the code server, between a reservation and the request of its run",
    "before_register": "a run, between the clips' partitions and their place in the ledger",
    "daemon_while_submitting": "the daemon, while a run submits",
    "code_server_while_collecting": "the code server, while a run downloads",
}


def planned(name: str) -> bool:
    """Whether a point is still to fire."""
    return _next_marker(name) is not None


def reached(name: str) -> None:
    """Die here, if the plan says so."""
    _fire(name, os.getpid())


def reached_by_child_of(name: str, words: str) -> None:
    """Kill the ancestor whose command line holds these words."""
    for process in psutil.Process().parents():
        if words in " ".join(process.cmdline()):
            _fire(name, process.pid)
            return


def fired(folder: Path) -> Counter[str]:
    """How often each point has fired."""
    return Counter(path.name.partition(".")[0] for path in folder.glob("*.fired"))


def environment(folder: Path, plan: Mapping[str, int]) -> dict[str, str]:
    """What a daemon must have in its environment for a plan."""
    unknown = set(plan) - set(POINTS)
    assert not unknown, f"no such fault points: {unknown}"
    folder.mkdir(parents=True, exist_ok=True)
    return {PLAN: json.dumps(plan), FOLDER: str(folder)}


def make_peace(folder: Path) -> None:
    """Let no point fire any more."""
    (folder / PEACE).touch()


def _next_marker(name: str) -> Path | None:
    assert name in POINTS
    times = json.loads(os.environ.get(PLAN, "{}")).get(name, 0)
    folder = Path(os.environ.get(FOLDER, "/nonexistent"))
    if (folder / PEACE).exists():
        return None
    markers = (folder / f"{name}.{number}.fired" for number in range(times))
    return next((marker for marker in markers if not marker.exists()), None)


def _fire(name: str, pid: int) -> None:
    marker = _next_marker(name)
    if marker is None:
        return
    try:
        with marker.open("x") as file:
            file.write(f"{time.time():.3f} {pid}\n")
    except FileExistsError:  # another process was quicker
        return
    os.kill(pid, signal.SIGKILL)
