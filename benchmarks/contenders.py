"""The three ways to make the same videos: what each is called, how it is started, and where it puts them."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Job:
    """What every contender is told to do.

    Attributes:
        folder: A fresh folder of the contender's own.
        manifest: The CSV manifest.
        url: Where its provider listens.
        api_key: The provider's key.
        in_flight: Clips that may render at once.
        settings: Further settings of this project, as environment variables.
    """

    folder: Path
    manifest: Path
    url: str
    api_key: str = field(repr=False)
    in_flight: int
    settings: Mapping[str, str]

    @property
    def output(self) -> Path:
        """Where the videos go."""
        return self.folder / "output"

    @property
    def home(self) -> Path:
        """The Dagster home, for those who need one."""
        return self.folder / "home"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do it.

    Attributes:
        name: For the command line.
        title: For the table.
        command: Makes the command that does the job and then ends.
        settings: Makes the variables it is told its settings with.
        videos: Glob of finished videos, below the job's output folder.
        logs: Files worth reading when it failed, below the job's folder.
    """

    name: str
    title: str
    command: Callable[[Job], Sequence[str]]
    settings: Callable[[Job], Mapping[str, str]]
    videos: str
    logs: tuple[str, ...]

    def environment(self, job: Job) -> dict[str, str]:
        """The whole environment: ours without what would tell it, or Dagster, something else."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SORA_", "DAGSTER_", "GPTPROTO_"))
        }
        return {**inherited, "SORA_API_KEY": job.api_key, "DAGSTER_HOME": str(job.home), **self.settings(job)}


def _project_command(job: Job) -> Sequence[str]:
    return [str(Path(sys.executable).with_name("sora-pipeline")), "run", str(job.manifest), "--json"]


def _project_settings(job: Job) -> Mapping[str, str]:
    """Only what the comparison is about; everything else is the product's default."""
    return {
        "SORA_PROVIDER": "sandbox",
        "SORA_BASE_URL": job.url,
        "SORA_OUTPUT": str(job.output),
        "SORA_MAX_IN_FLIGHT": str(job.in_flight),
        **job.settings,
    }


def _module(name: str) -> Callable[[Job], Sequence[str]]:
    def command(job: Job) -> Sequence[str]:
        given = [str(job.manifest), str(job.output), "--url", job.url, "--in-flight", str(job.in_flight)]
        return [sys.executable, "-m", f"benchmarks.{name}", *given]

    return command


PROJECT = Contender(
    name="project",
    title="this project",
    command=_project_command,
    settings=_project_settings,
    videos="videos/*/*.mp4",
    logs=("command.log", "home/logs/daemon.log"),
)
RUN_PER_CLIP = Contender(
    name="run-per-clip",
    title="Dagster, a run per clip",
    command=_module("run_per_clip"),
    settings=lambda job: {},
    videos="*.mp4",
    logs=("command.log",),
)
SCRIPT = Contender(
    name="script",
    title="bare asyncio script",
    command=_module("bare_script"),
    settings=lambda job: {},
    videos="*.mp4",
    logs=("command.log",),
)
CONTENDERS = {each.name: each for each in (PROJECT, RUN_PER_CLIP, SCRIPT)}
