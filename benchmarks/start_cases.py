"""The ways in which a production begins: by the command on a fresh home and on a used one, by the command while a daemon is up, and
by the schedule of a daemon that is up."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from benchmarks.contenders import HERE, project_environment
from benchmarks.databases import SQLITE, database_of
from benchmarks.measure import ProcessTree
from benchmarks.moments import (
    SUBMITTED,
    VIDEO,
    Moments,
    moments_in_bill,
    moments_in_dagster,
    moments_in_ledger,
)
from benchmarks.provider_client import read_rows
from benchmarks.trial import read_bill, write_manifest
from sora_pipeline.headless.home import daemon_is_alive, note_daemon_stopped, prepare_home
from sora_pipeline.ledger import Ledger
from sora_pipeline.sandbox.embedded import SandboxEndpoint, running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings

CLIPS, IN_FLIGHT = 5, 20
RENDER_S = 2.0
DAEMON_UP_S, QUIET_S = 120.0, 12.0
LEAD_S = 45.0
"""From the start of a daemon to the minute that its schedule names, at least."""
LOOK_S = 0.1
FRESH, USED, DAEMON, SCHEDULE = "run, fresh home", "run, used home", "run, daemon up", "schedule, daemon up"
CASES = (FRESH, USED, DAEMON, SCHEDULE)


class StartError(Exception):
    """Raised where a production did not come to its first video; the text says where its log is."""


@dataclass(frozen=True, slots=True)
class Start:
    """One beginning.

    Attributes:
        case: Which way it was.
        began_at: Epoch seconds of the command's start, or of the scheduled minute.
        moments: What was reached when.
    """

    case: str
    began_at: float
    moments: Moments

    @property
    def since_began(self) -> Moments:
        """The same in seconds since it began; what lies before that belongs to something earlier."""
        since = {name: moment - self.began_at for name, moment in self.moments.items()}
        return {name: seconds for name, seconds in since.items() if seconds >= 0}


@contextlib.contextmanager
def stage(folder: Path, settings: Mapping[str, str], database: str = SQLITE) -> Iterator["Stage"]:
    """A home and a provider to begin productions on.

    Raises:
        NoServerError: there is no PostgreSQL server, and one is to be used.
    """
    home = folder / "home"
    home.mkdir(parents=True)
    provider = SandboxSettings(state_dir=folder / "provider", render_s=RENDER_S, shared_renders=True)
    with running_sandbox(provider) as endpoint, database_of(database, home) as database_settings:
        yield Stage(folder, endpoint, {**settings, **database_settings})


class Stage:
    """Begins productions on one home, one after the other.

    Args:
        folder: Of home, manifests, outputs and logs.
        endpoint: The provider.
        settings: Further settings of this project, as environment variables.
    """

    def __init__(self, folder: Path, endpoint: SandboxEndpoint, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._url = endpoint.url
        self._environment = project_environment(folder, endpoint, IN_FLIGHT, settings)
        self._ledger_url = settings.get("SORA_LEDGER_URL", f"sqlite:///{self._home / 'ledger.db'}")

    def by_command(self, case: str, name: str) -> Start:
        """``sora-pipeline run`` on a manifest of its own, to its end.

        Raises:
            StartError: it failed.
        """
        manifest = write_manifest(self._folder, CLIPS, name)
        log, began_at = self._folder / f"{name}.log", time.time()
        command = [_program("sora-pipeline"), "run", str(manifest), "--json"]
        with ProcessTree(command, environment=self._environment, folder=HERE, log=log) as tree:
            video_at = self._wait_for_video(name, tree, log)
            while tree.exit_code is None:
                tree.sample()
                time.sleep(LOOK_S)
        return Start(case, began_at, self._moments(name, manifest, began_at, video_at))

    def by_schedule(self, name: str) -> Start:
        """A daemon is up and its schedule's next minute comes.

        Raises:
            StartError: the daemon failed, or was not up when the minute came.
        """
        manifest = write_manifest(self._folder, CLIPS, name)
        minute = _minute_after(time.time() + LEAD_S)
        cron = time.strftime("%M %H * * *", time.gmtime(minute))
        scheduled = {"SORA_MANIFEST": str(manifest), "SORA_CRON": cron}
        with self.daemon(name, scheduled) as (tree, log):
            if time.time() > minute:
                raise StartError(f"the daemon took longer than {LEAD_S:g} s to come up; see {log}")
            video_at = self._wait_for_video(name, tree, log, patience_s=minute - time.time() + DAEMON_UP_S)
        return Start(SCHEDULE, minute, self._moments(name, manifest, minute, video_at))

    @contextlib.contextmanager
    def daemon(
        self, name: str, settings: Mapping[str, str] | None = None
    ) -> Iterator[tuple[ProcessTree, Path]]:
        """A daemon of its own, up and quiet.

        Raises:
            StartError: it did not come up.
        """
        log = self._folder / f"daemon-{name}.log"
        environment = {**self._environment, **(settings or {})}
        with _variable("DAGSTER_HOME", str(self._home)):
            prepare_home()
        command = [_program("dagster-daemon"), "run", "-m", "sora_pipeline.definitions"]
        with ProcessTree(command, environment=environment, folder=HERE, log=log) as tree:
            self._wait_for_daemon(tree, log)
            yield tree, log
        note_daemon_stopped(self._home)  # or its last heartbeat counts as a living daemon's for a while

    def _wait_for_daemon(self, tree: ProcessTree, log: Path) -> None:
        """Until it evaluates sensors, and has done what it does once."""
        give_up = time.monotonic() + DAEMON_UP_S
        with self._dagster() as instance:
            while not daemon_is_alive(instance, self._home):
                self._look(tree, log, give_up)
        quiet = time.monotonic() + QUIET_S
        while time.monotonic() < quiet:
            self._look(tree, log, give_up + QUIET_S)

    def _wait_for_video(self, name: str, tree: ProcessTree, log: Path, patience_s: float = 600.0) -> float:
        give_up = time.monotonic() + patience_s
        videos = self._folder / "output" / name / "videos"
        while not any(videos.glob("*/*.mp4")):
            self._look(tree, log, give_up)
        return time.time()

    def _look(self, tree: ProcessTree, log: Path, give_up: float) -> None:
        tree.sample()
        if tree.exit_code is not None or time.monotonic() > give_up:
            raise StartError(f"nothing more came of it; see {log}")
        time.sleep(LOOK_S)

    def _moments(self, name: str, manifest: Path, began_at: float, video_at: float) -> Moments:
        ledger = Ledger(self._ledger_url)
        try:
            in_ledger = moments_in_ledger(ledger, name)
        finally:
            ledger.close()
        with self._dagster() as instance:
            in_dagster = moments_in_dagster(instance, began_at)
        prompts = [row["prompt"] for row in read_rows(manifest)]
        in_bill = moments_in_bill(read_bill(self._url), prompts)
        return {**in_ledger, **in_dagster, **in_bill, VIDEO: video_at}

    @contextlib.contextmanager
    def _dagster(self) -> Iterator[dg.DagsterInstance]:
        secret = self._environment.get("SORA_LEDGER_URL", "")
        with (
            _variable("SORA_LEDGER_URL", secret),
            dg.DagsterInstance.from_config(str(self._home)) as instance,
        ):
            yield instance


def begin(folder: Path, cases: Sequence[str], settings: Mapping[str, str], database: str) -> Iterator[Start]:
    """One beginning of each case, all on one home.

    Raises:
        NoServerError: there is no PostgreSQL server, and one is to be used.
        StartError: a production did not come to its first video.
    """
    with stage(folder, settings, database) as home:
        first = home.by_command(FRESH, "first")
        if FRESH in cases:
            yield first
        if USED in cases:
            yield home.by_command(USED, "second")
        if DAEMON in cases:
            with home.daemon("third"):
                yield home.by_command(DAEMON, "third")
        if SCHEDULE in cases:
            yield home.by_schedule("fourth")


def first_submit_s(start: Start) -> float | None:
    """Seconds until the provider had accepted the first clip."""
    return start.since_began.get(SUBMITTED)


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _minute_after(moment: float) -> float:
    return (moment // 60 + 1) * 60


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
