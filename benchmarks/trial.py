"""One contender's trial: a provider of its own, the command, the watch over its output folder, and the provider's bill."""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.contenders import HERE, Contender, Job
from benchmarks.measure import ProcessTree, Usage
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
    """

    clips: int
    render_s: float
    in_flight: int
    timeout_s: float
    settings: Mapping[str, str]

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
        slots_used: Share of the allowed slots that rendered on average, from start to makespan.
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
    usage: Usage
    otherwise_busy: float
    load: float
    log_tail: str


def try_contender(contender: Contender, task: Task, folder: Path, show: Callable[[str], None]) -> Result:
    """Let one contender do the task, against a provider process that serves it alone."""
    folder.mkdir(parents=True)
    provider = SandboxSettings(
        state_dir=folder / "provider",
        render_s=task.render_s,
        max_running=task.in_flight,
        shared_renders=True,  # rendering costs the same few seconds whatever the number of clips
    )
    with running_sandbox(provider) as endpoint:
        job = Job(
            folder=folder,
            manifest=_write_manifest(folder, task.clips),
            url=endpoint.url,
            api_key=endpoint.api_key,
            in_flight=task.in_flight,
            settings=task.settings,
        )
        job.home.mkdir()
        watch = _Watch(contender, task, job)
        watch.run(show)
        with urllib.request.urlopen(f"{endpoint.url}/sandbox/bill", timeout=30) as answer:
            return watch.result(json.load(answer))


def _write_manifest(folder: Path, clips: int) -> Path:
    path = folder / "manifest.csv"
    lines = [f"clip-{n:04},A paper boat on a pond; take {n},4,720x1280" for n in range(clips)]
    path.write_text("\n".join(["clip_id,prompt,duration,size", *lines, ""]))
    return path


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
        job, title = self._job, self._contender.title
        with ProcessTree(
            self._contender.command(job),
            environment=self._contender.environment(job),
            folder=HERE,
            log=job.folder / "command.log",
        ) as tree:
            while tree.exit_code is None:
                tree.sample()
                elapsed = time.monotonic() - began
                found = len(self._videos())
                if found and self._first is None:
                    self._first = elapsed
                if found >= self._task.clips and self._last is None:
                    self._last = elapsed
                show(f"{title}: {found} of {self._task.clips} videos, {elapsed:.0f} s")
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
        clips, videos = self._task.clips, self._videos()
        if len(videos) == clips and self._last is None:
            self._last = self._ended_s  # the last came between two looks
        accepted = [_timestamp(item["accepted_at"]) - self._began_at for item in bill["items"]]
        duplicates = sum(each["count"] - 1 for each in bill["duplicates"])
        damaged = [path.name for path in videos if not _is_video(path)]
        problem = self._problem
        if problem is None and self._exit_code:
            problem = f"ended with exit code {self._exit_code}"
        if problem is None and damaged:
            problem = f"{len(damaged)} files are no videos, {damaged[0]} for one"
        if problem is None and len(videos) != clips:
            problem = f"{len(videos)} video files instead of {clips}"
        if problem is None and bill["accepted"] != clips:
            problem = (
                f"{bill['accepted']} clips on the bill instead of {clips}: {duplicates} were paid for twice"
            )
        return Result(
            contender=self._contender.name,
            problem=problem,
            delivered=len(videos) - len(damaged),
            accepted=bill["accepted"],
            duplicates=duplicates,
            makespan_s=self._last,
            first_video_s=self._first,
            first_submit_s=min(accepted, default=None),
            last_submit_s=max(accepted, default=None),
            ended_s=self._ended_s,
            slots_used=_share(clips * self._task.render_s, self._task.in_flight, self._last),
            usage=self._usage,
            otherwise_busy=self._otherwise,
            load=self._load,
            log_tail=_tails(self._job.folder, self._contender.logs) if problem else "",
        )

    def _videos(self) -> list[Path]:
        return list(self._job.output.glob(self._contender.videos))


def _share(render_s: float, slots: int, makespan_s: float | None) -> float | None:
    return None if makespan_s is None else render_s / (slots * makespan_s)


def _timestamp(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


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
