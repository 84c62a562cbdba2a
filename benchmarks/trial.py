"""One contender's trial: a provider of its own, the command, the watch over its output folder, and the provider's bill."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import HERE, PROJECT, Contender, Job
from benchmarks.databases import SQLITE, database_of
from benchmarks.measure import ProcessTree, Usage
from benchmarks.slots import Render, share_in_use
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings

LOOK_S = 0.25
LOG_LINES = 25


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done, the same for every contender.

    Attributes:
        clips: How many clips.
        render_s: Seconds the provider renders each.
        in_flight: Clips that may render at once; the provider refuses more.
        timeout_s: Seconds after which a contender is stopped.
        settings: Further settings of this project, to try them.
        database: Where this project keeps its ledger and Dagster's storage.
        fps: Frames a second of the videos; few make them quick to decode.
    """

    clips: int
    render_s: float
    in_flight: int
    timeout_s: float
    settings: Mapping[str, str]
    database: str = SQLITE
    fps: int = 24

    @property
    def best_s(self) -> float:
        """What the provider alone takes; nobody can be faster."""
        return -(-self.clips // self.in_flight) * self.render_s


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a trial; times are seconds since the command's start.

    Attributes:
        problem: Why the figures do not count, in a sentence; None where they do.
        delivered: Video files found in the end.
        accepted: Submits on the provider's bill: what would have been paid for.
        duplicates: Accepted submits beyond the first of the same clip.
        makespan_s: When the last video was on disk.
        first_video_s: When the first was.
        first_submit_s: When the provider accepted the first clip.
        last_submit_s: When it accepted the last.
        ended_s: When the command itself had ended.
        slots_used: Share of the allowed slots that rendered on average between the first submit and the last.
        renders: Begin and end of every render.
        otherwise_busy: Cores kept busy meanwhile by anything else, the provider included.
        load: The machine's load average before the start.
        log_tail: Ends of its logs, where there is a problem.
    """

    contender: str
    problem: str | None
    delivered: int
    accepted: int
    duplicates: int
    makespan_s: float | None
    first_video_s: float | None
    first_submit_s: float | None
    last_submit_s: float | None
    ended_s: float
    slots_used: float | None
    renders: tuple[Render, ...]
    usage: Usage
    otherwise_busy: float
    load: float
    log_tail: str

    @property
    def submits_to_videos_s(self) -> float | None:
        """From the first submit to the last video: what remains of the makespan once it has begun."""
        if self.makespan_s is None or self.first_submit_s is None:
            return None
        return self.makespan_s - self.first_submit_s

    @property
    def cpu_per_clip_s(self) -> float:
        """CPU seconds for each clip delivered."""
        return self.usage.cpu_s / max(self.delivered, 1)


def try_contender(contender: Contender, task: Task, folder: Path, show: Callable[[str], None]) -> Result:
    """Let one contender do the task, against a provider process that serves it alone.

    Raises:
        NoServerError: this project is to use a PostgreSQL server that there is not.
        PeerNotInstalledError: the contender's packages cannot be had here.
    """
    folder.mkdir(parents=True)
    home = folder / "home"
    home.mkdir()
    provider = SandboxSettings(
        state_dir=folder / "provider",
        render_s=task.render_s,
        max_running=task.in_flight,
        fps=task.fps,
        shared_renders=True,  # rendering costs the same few seconds whatever the number of clips
    )
    database = task.database if contender is PROJECT else SQLITE
    with running_sandbox(provider) as endpoint, database_of(database, home) as database_settings:
        job = Job(
            folder=folder,
            manifest=write_manifest(folder, task.clips),
            url=endpoint.url,
            api_key=endpoint.api_key,
            in_flight=task.in_flight,
            settings={**task.settings, **database_settings},
        )
        show(f"{contender.title}: is prepared")
        _prepare(contender, job)
        watch = _Watch(contender, task, job)
        watch.run(show)
        return watch.result(read_bill(endpoint.url))


def write_manifest(folder: Path, clips: int, name: str = "manifest") -> Path:
    """A manifest of short clips that differ by their prompt only."""
    path = folder / f"{name}.csv"
    lines = [f"clip-{n:06},A paper boat on a pond; take {n} of {name},4,720x1280" for n in range(clips)]
    path.write_text("\n".join(["clip_id,prompt,duration,size", *lines, ""]))
    return path


def read_bill(url: str) -> Mapping[str, Any]:
    """The bill of the provider at an address."""
    with urllib.request.urlopen(f"{url}/sandbox/bill", timeout=60) as answer:
        bill: Mapping[str, Any] = json.load(answer)
    return bill


def moment_of(text: str) -> float:
    """Epoch seconds of a moment as the bill writes it."""
    return datetime.fromisoformat(text).timestamp()


def _prepare(contender: Contender, job: Job) -> None:
    """What a peer keeps its state in is made before the clock starts; where that fails, so does the command."""
    command = contender.preparation(job)
    if command is None:
        return
    with (job.folder / "prepare.log").open("wb") as log:
        subprocess.run(command, env=contender.environment(job), cwd=HERE, stdout=log, stderr=log, check=False)


class _Watch:
    def __init__(self, contender: Contender, task: Task, job: Job) -> None:
        self._contender, self._task, self._job = contender, task, job
        self._load = os.getloadavg()[0]
        self._first: float | None = None
        self._last: float | None = None
        self._problem: str | None = None

    def run(self, show: Callable[[str], None]) -> None:
        """Run the command to its end, or until it took too long."""
        busy_before, self._began_at, began = _machine_busy_s(), time.time(), time.monotonic()
        with ProcessTree(
            self._contender.command(self._job),
            environment=self._contender.environment(self._job),
            folder=HERE,
            log=self._job.folder / "command.log",
        ) as tree:
            while tree.exit_code is None:
                tree.sample()
                elapsed = time.monotonic() - began
                found = len(self._videos())
                if found and self._first is None:
                    self._first = elapsed
                if found >= self._task.clips and self._last is None:
                    self._last = elapsed
                show(f"{self._contender.title}: {found} of {self._task.clips} videos, {elapsed:.0f} s")
                if elapsed > self._task.timeout_s:
                    self._problem = f"stopped after {self._task.timeout_s:g} s"
                    break
                time.sleep(LOOK_S)
        self._ended_s = time.monotonic() - began
        self._usage = tree.usage()
        self._exit_code = tree.exit_code
        self._otherwise = max(_machine_busy_s() - busy_before - self._usage.cpu_s, 0.0) / self._ended_s

    def result(self, bill: Mapping[str, Any]) -> Result:
        """What came of it, once the provider's bill is known."""
        videos = self._videos()
        if len(videos) == self._task.clips and self._last is None:
            self._last = self._ended_s  # the last came between two looks
        renders = renders_of(bill, self._began_at, self._ended_s)
        submits = [begin for begin, _ in renders]
        first, last = min(submits, default=None), max(submits, default=None)
        damaged = [path.name for path in videos if not _is_video(path)]
        problem = self._problem_of(bill, videos, damaged)
        return Result(
            contender=self._contender.name,
            problem=problem,
            delivered=len(videos) - len(damaged),
            accepted=bill["accepted"],
            duplicates=_duplicates(bill),
            makespan_s=self._last,
            first_video_s=self._first,
            first_submit_s=first,
            last_submit_s=last,
            ended_s=self._ended_s,
            slots_used=share_in_use(renders, self._task.in_flight, first or 0.0, last or 0.0),
            renders=renders,
            usage=self._usage,
            otherwise_busy=self._otherwise,
            load=self._load,
            log_tail=_tails(self._job.folder, self._contender.logs) if problem else "",
        )

    def _problem_of(self, bill: Mapping[str, Any], videos: list[Path], damaged: list[str]) -> str | None:
        clips = self._task.clips
        if self._problem is not None:
            return self._problem
        if self._exit_code:
            return f"ended with exit code {self._exit_code}"
        if damaged:
            return f"{len(damaged)} files are no videos, {damaged[0]} for one"
        if len(videos) != clips:
            return f"{len(videos)} video files instead of {clips}"
        if bill["accepted"] != clips:
            return (
                f"{bill['accepted']} clips on the bill instead of {clips}: "
                f"{_duplicates(bill)} were paid for twice"
            )
        return None

    def _videos(self) -> list[Path]:
        return list(self._job.output.glob(self._contender.videos))


def renders_of(bill: Mapping[str, Any], began_at: float, ended_s: float) -> tuple[Render, ...]:
    """Begin and end of every render, in seconds since the command's start; what never ended ends with it."""
    return tuple(
        (
            moment_of(item["accepted_at"]) - began_at,
            moment_of(item["ended_at"]) - began_at if item["ended_at"] else ended_s,
        )
        for item in bill["items"]
    )


def _duplicates(bill: Mapping[str, Any]) -> int:
    return sum(each["count"] - 1 for each in bill["duplicates"])


def _is_video(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _machine_busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _tails(folder: Path, names: tuple[str, ...]) -> str:
    parts = []
    for path in (folder / name for name in names):
        if path.exists():
            lines = path.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
            parts.append("\n".join([f"--- {path.relative_to(folder)}", *lines]))
    return "\n".join(parts)
