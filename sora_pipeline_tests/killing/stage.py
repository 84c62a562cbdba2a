"""A production on a real daemon and a real provider, each of which can be killed and is started again, as a service is."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil

from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.production.progress import Progress, progress_of
from sora_pipeline.production.publishing import survey
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.sandbox.embedded import SandboxEndpoint, running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.settings import Settings
from sora_pipeline_tests.killing import points

MODULE = "sora_pipeline_tests.killing.location"
LOOK_S = 0.25
IMPATIENCE = {
    "SORA_LEASE_S": "5",
    "SORA_POLL_INTERVAL_S": "1",
    "SORA_SUBMITS_PER_MINUTE": "6000",
    "DAGSTER_DISABLE_TELEMETRY": "1",
}
HASTE = {
    "start_timeout_seconds: 180": "start_timeout_seconds: 60",
    "poll_interval_seconds: 30": "poll_interval_seconds: 5",
}
"""How soon Dagster notices a worker that was killed before it had begun."""


class NotSettled(AssertionError):
    """A production did not come to its end in time."""


class MortalProvider:
    """A sandbox on one state folder and one port, over as many lives as it takes.

    Args:
        settings: Of every life; the port is the first one's.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._life = contextlib.ExitStack()
        self.endpoint = self._begin()
        self._settings = settings.model_copy(update={"port": httpx.URL(self.endpoint.url).port})
        self.http = httpx.Client(base_url=self.endpoint.url, trust_env=False, timeout=30)

    def kill(self) -> None:
        os.kill(self.endpoint.pid, signal.SIGKILL)
        self._life.close()

    def start_again(self) -> None:
        self.endpoint = self._begin()

    def change(self, **settings: Any) -> None:
        self.http.put("/sandbox/settings", json=settings).raise_for_status()

    def bill(self) -> dict[str, Any]:
        return dict(self.http.get("/sandbox/bill").raise_for_status().json())

    def close(self) -> None:
        self.http.close()
        self._life.close()

    def _begin(self) -> SandboxEndpoint:
        return self._life.enter_context(running_sandbox(self._settings))


@dataclass
class MortalDaemon:
    """A daemon with the code location that has fault points; started again whenever it is found dead.

    Attributes:
        log: Where it writes.
        supervised: Whether all its children end with it, as under ``sora-pipeline run``, or live on as orphans.
        starts: How often it was started.
    """

    log: Path
    supervised: bool = True
    starts: int = 0
    _process: "subprocess.Popen[bytes] | None" = None
    _sessions: set[int] = field(default_factory=set)

    def ensure(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        command = [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", MODULE]
        if self.supervised:
            command = [sys.executable, "-m", "sora_pipeline.headless.supervisor", *command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )
        self._sessions.add(self._process.pid)
        self.starts += 1

    def pid(self) -> int | None:
        """Of the daemon itself."""
        commands = {each.pid: _command(each) for each in self.family()}
        found = (pid for pid, command in commands.items() if "dagster-daemon run" in command)
        return next((pid for pid in found if "supervisor" not in commands[pid]), None)

    def code_servers(self) -> list[int]:
        return [each.pid for each in self.family() if " api grpc " in _command(each)]

    def workers(self) -> list[int]:
        return [each.pid for each in self.family() if "spawn_main" in _command(each)]

    def family(self) -> list[psutil.Process]:
        """Every process that any of the lives has left, by the sessions that they were started in."""
        everything = list(psutil.process_iter(["ppid"]))
        for process in everything:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if process.info["ppid"] in self._sessions:  # the supervisor's child has a session of its own
                    self._sessions.add(os.getsid(process.pid))
        return [process for process in everything if _session(process.pid) in self._sessions]

    def stop(self) -> None:
        """End the daemon and all that it ever started."""
        if self._process is not None and self._process.stdin is not None and self.supervised:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._process is not None:
            self._process.wait()
        self._process = None


@dataclass
class Stage:
    """All that one production needs, in one folder.

    Attributes:
        folder: Holds home, output, provider and markers of the points that fired.
        settings: As the environment says.
    """

    folder: Path
    home: Path
    provider: MortalProvider
    daemon: MortalDaemon
    ledger: Ledger
    instance: dg.DagsterInstance
    settings: Settings

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def markers(self) -> Path:
        return self.folder / "markers"

    def request(self, manifest: Path) -> Production:
        return self.ledger.productions.request(str(manifest), str(self.output), None)

    def settle(
        self,
        production_id: str,
        *,
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
        done: Callable[[], bool] = lambda: True,
    ) -> None:
        """Keep everything going until nothing changes any more, nothing runs and all is published.

        Args:
            production_id: The production.
            timeout_s: For how long nothing at all may happen.
            meanwhile: Called at every look; may kill.
            done: What else has to be so.
        """
        give_up, seen = time.monotonic() + timeout_s, None
        while time.monotonic() < give_up:
            self.daemon.ensure()
            meanwhile()
            if done() and self._settled(production_id):
                return
            production = self.ledger.productions.get(production_id)
            now = production.change_seq, production.published_seq, [run.status for run in self.unfinished()]
            if now != seen:
                give_up, seen = time.monotonic() + timeout_s, now
            time.sleep(LOOK_S)
        raise NotSettled(f"nothing has happened for {timeout_s:.0f} s: {self.situation(production_id)}")

    def _settled(self, production_id: str) -> bool:
        progress = self.progress(production_id)
        return progress is not None and progress.settled and progress.published and not self.unfinished()

    def progress(self, production_id: str) -> Progress | None:
        production = self.ledger.productions.get(production_id)
        asked, read = production.requested_at, production.read_at
        if read is None or (asked is not None and read < asked):
            return None
        return progress_of(self.ledger, production, self.settings, load_catalogue())

    def statuses(self, production_id: str) -> dict[str, str]:
        """Clips by how they stand, in the words of the output manifest."""
        production = self.ledger.productions.get(production_id)
        _, outcomes = survey(self.ledger, production, self.settings)
        return {each.clip_id: str(each.status) for each in outcomes}

    def unfinished(self) -> list[dg.DagsterRun]:
        """Runs that have not ended."""
        open_states = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
        return list(self.instance.get_runs(filters=dg.RunsFilter(statuses=open_states)))

    def situation(self, production_id: str) -> str:
        progress = self.progress(production_id)
        runs = [f"{run.job_name} {run.run_id[:8]} {run.status.value}" for run in self.unfinished()]
        fired = dict(points.fired(self.markers))
        if progress is None:
            return f"manifest not read; runs {runs}; fired {fired}"
        counts = {name: count for name, count in progress.counts.items() if count}
        return f"{counts}, published: {progress.published}, stopped: {progress.stopped}; runs {runs}; fired {fired}"


_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@contextmanager
def stage(
    folder: Path,
    sandbox: Mapping[str, Any],
    plan: Mapping[str, int],
    settings: Mapping[str, str],
    *,
    supervised: bool,
) -> Iterator[Stage]:
    """Set a stage up in an empty folder, in this process's environment too, and clear it in the end."""
    markers = folder / "markers"
    folder.mkdir(parents=True, exist_ok=True)
    provider = MortalProvider(SandboxSettings(state_dir=folder / "provider", **sandbox))
    environment = {
        **IMPATIENCE,
        "DAGSTER_HOME": str(folder / "home"),
        "SORA_OUTPUT": str(folder / "out"),
        "SORA_BASE_URL": provider.endpoint.url,
        "SORA_API_KEY": provider.endpoint.api_key,
        **settings,
        **points.environment(markers, plan),
    }
    kept = _environ_with(environment)
    daemon = MortalDaemon(folder / "daemon.log", supervised)
    try:
        home = prepare_home()
        config = home / "dagster.yaml"
        # A worker that was killed before it had begun is only noticed by this.
        text = config.read_text()
        for usual, hasty in HASTE.items():
            assert usual in text
            text = text.replace(usual, hasty)
        config.write_text(text)
        ledger = Ledger(f"sqlite:///{home / 'ledger.db'}")
        with dg.DagsterInstance.get() as instance:
            yield Stage(folder, home, provider, daemon, ledger, instance, Settings.from_env())
        ledger.close()
    finally:
        daemon.stop()
        provider.close()
        os.environ.clear()
        os.environ.update(kept)


def kill_one(pids: list[int], dice: random.Random) -> bool:
    """Kill one of these processes; whether there was one."""
    if not pids:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(dice.choice(pids), signal.SIGKILL)
        return True
    return False


def _environ_with(environment: Mapping[str, str]) -> dict[str, str]:
    """Change this process's environment; returns how it was."""
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(("SORA_", "DAGSTER_", "GPTPROTO_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(environment)
    return kept


def _session(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return -1


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
