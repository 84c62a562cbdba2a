"""The ways to make the same videos: what each is called, how it is started, and where it puts them."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.environments import python_of
from sora_pipeline.sandbox.embedded import SandboxEndpoint

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
        """The Dagster home, for those who need one; others put what they keep beside it."""
        return self.folder / "home"


def _nothing(job: Job) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do it.

    Attributes:
        name: For the command line.
        title: For the table.
        command: Makes the command that does the job and then ends.
        videos: Glob of finished videos, below the job's output folder.
        logs: Files worth reading when it failed, below the job's folder.
        settings: Makes the variables it is told its settings with.
        peer: The list of packages of its own environment; None: it runs in this project's.
    """

    name: str
    title: str
    command: Callable[[Job], Sequence[str]]
    videos: str = "*.mp4"
    logs: tuple[str, ...] = ("prepare.log", "command.log")
    settings: Callable[[Job], Mapping[str, str]] = _nothing
    peer: str | None = None

    def environment(self, job: Job) -> dict[str, str]:
        """The whole environment: ours without what would tell it, Dagster or a peer something else.

        Bytecode is cached, as Python does of itself: peers are installed with theirs.
        """
        strange = ("SORA_", "DAGSTER_", "GPTPROTO_", "PREFECT_", "AIRFLOW_", "PYTHONDONTWRITEBYTECODE")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
        return {
            **inherited,
            "PYTHONPATH": str(HERE),  # for the processes that a peer starts
            "SORA_API_KEY": job.api_key,
            "DAGSTER_HOME": str(job.home),
            **self.settings(job),
        }

    def preparation(self, job: Job) -> Sequence[str] | None:
        """The command that makes what a peer keeps its state in, before the clock starts; None: nothing is made before."""
        return [*self.command(job), "--prepare"] if self.peer else None


def _project_command(job: Job) -> Sequence[str]:
    return [str(Path(sys.executable).with_name("sora-pipeline")), "run", str(job.manifest), "--json"]


def _project_settings(job: Job) -> Mapping[str, str]:
    """Only what the comparison is about, and that the provider limits no rate; everything else is the product's default."""
    return {
        "SORA_PROVIDER": "sandbox",
        "SORA_BASE_URL": job.url,
        "SORA_OUTPUT": str(job.output),
        "SORA_MAX_IN_FLIGHT": str(job.in_flight),
        "SORA_SUBMITS_PER_MINUTE": "100000",
        **job.settings,
    }


def _program(module: str, peer: str | None = None) -> Callable[[Job], Sequence[str]]:
    """The command of a contender that is a module of ours."""

    def command(job: Job) -> Sequence[str]:
        python = sys.executable if peer is None else str(python_of(peer))
        given = [str(job.manifest), str(job.output), "--url", job.url, "--in-flight", str(job.in_flight)]
        return [python, "-m", f"benchmarks.{module}", *given]

    return command


PROJECT = Contender(
    name="project",
    title="this project",
    command=_project_command,
    settings=_project_settings,
    videos="*/videos/*/*.mp4",
    logs=("command.log", "home/logs/daemon.log"),
)
SCRIPT = Contender(name="script", title="bare script", command=_program("bare_script"))
PREFECT = Contender(
    name="prefect",
    title="Prefect, a task a clip",
    command=_program("peers.prefect_flow", "prefect"),
    peer="prefect",
)
AIRFLOW = Contender(
    name="airflow",
    title="Airflow, deferrable",
    command=_program("peers.airflow_program", "airflow"),
    peer="airflow",
)
RUN_PER_CLIP = Contender(name="run-per-clip", title="Dagster, a run a clip", command=_program("run_per_clip"))
CONTENDERS = {each.name: each for each in (SCRIPT, PROJECT, PREFECT, AIRFLOW, RUN_PER_CLIP)}


def project_environment(
    folder: Path, endpoint: SandboxEndpoint, in_flight: int, settings: Mapping[str, str]
) -> dict[str, str]:
    """The environment of this project's commands and daemon, with home and output in a folder."""
    job = Job(
        folder=folder,
        manifest=folder / "manifest.csv",
        url=endpoint.url,
        api_key=endpoint.api_key,
        in_flight=in_flight,
        settings=settings,
    )
    return PROJECT.environment(job)
