"""Productions on a real daemon and two real providers, each of which can be killed and is started again, as a service is.

Two pipelines in one code location share the daemon and the ledger; each has a provider account of its own.
"""

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg
import httpx
import psutil

from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.production.intake import open_production
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline.production.progress import Progress, progress_of
from sora_pipeline.production.retrying import Retried, retry_clips
from sora_pipeline.production.surveys import surveying
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.sandbox.embedded import SandboxEndpoint, running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.settings import Settings
from sora_pipeline_tests.databases import dagster_yaml
from sora_pipeline_tests.killing import points, second_pipeline
from sora_pipeline_tests.killing.second_pipeline import ACCOUNTS, ACME, BUILT_IN, pipeline_of

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
SILENCE = ("ambiguous_submit", "connect", "unavailable", "rate_limited")
"""Why submits stop while a provider is down."""


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
    """All that the productions of two pipelines need, in one folder.

    Attributes:
        folder: Dagster home, outputs, providers and markers of the points that fired.
        providers: By pipeline.
        settings: By pipeline.
    """

    folder: Path
    home: Path
    providers: Mapping[str, MortalProvider]
    daemon: MortalDaemon
    ledger: Ledger
    instance: dg.DagsterInstance
    settings: Mapping[str, Settings]

    @property
    def markers(self) -> Path:
        return self.folder / "markers"

    def request(self, manifest: Path | str, pipeline: str = BUILT_IN) -> Production:
        """What ``sora-pipeline run`` asks for, of a pipeline."""
        request = ProductionRequest(manifest=str(manifest))
        intake = open_production(self.ledger, self.settings[pipeline], pipeline, request)
        return self.ledger.productions.request(intake.decided.plan)

    def bills(self) -> dict[str, dict[str, Any]]:
        """By account."""
        return {ACCOUNTS[pipeline]: provider.bill() for pipeline, provider in self.providers.items()}

    def by_prompt(self) -> dict[str, int]:
        """How often each prompt was paid for, at whichever account."""
        return {
            prompt: times for bill in self.bills().values() for prompt, times in bill["by_prompt"].items()
        }

    def retry(self, named: Sequence[str] = ()) -> Retried:
        """What a person's retry does, of everything or of these clips."""
        retried = Retried()
        for pipeline, settings in self.settings.items():
            mine = [each.production_id for each in self.ledger.productions.all(pipeline)]
            keys = [key for key in named if split_clip_key(key)[0] in mine]
            if keys or not named:
                done = retry_clips(self.ledger, settings, mine, keys)
                retried.anew += done.anew
                retried.fetched += done.fetched
        return retried

    def settle(
        self,
        *,
        timeout_s: float,
        meanwhile: Callable[[], None] = lambda: None,
        done: Callable[[], bool] = lambda: True,
    ) -> None:
        """Keep everything going until nothing changes any more, nothing runs and all is published.

        Args:
            timeout_s: For how long nothing at all may happen.
            meanwhile: Called at every look; may kill.
            done: What else has to be so.
        """
        give_up, seen = time.monotonic() + timeout_s, None
        while time.monotonic() < give_up:
            self.daemon.ensure()
            self._resume_after_silence()
            meanwhile()
            productions = self.ledger.productions.all()
            if done() and not self.is_at_work() and all(map(self._settled, productions)):
                return
            states = [(each.production_id, each.change_seq, each.published_seq) for each in productions]
            now = states, [run.status for run in self.unfinished()]
            if now != seen:
                give_up, seen = time.monotonic() + timeout_s, now
            time.sleep(LOOK_S)
        raise NotSettled(f"nothing has happened for {timeout_s:.0f} s: {self.situation()}")

    def _resume_after_silence(self) -> None:
        """A person who sees that a provider answers again does not wait for the next probe."""
        for breaker in self.ledger.breakers.all_open():
            if breaker.kind in SILENCE:
                self.ledger.breakers.close(breaker.account, model=breaker.model)

    def _settled(self, production: Production) -> bool:
        progress = self._progress(production)
        return progress is not None and progress.settled and progress.published

    def _progress(self, production: Production) -> Progress | None:
        asked, read = production.requested_at, production.read_at
        if read is None or (asked is not None and read < asked):
            return None
        return progress_of(self.ledger, production, self.settings[production.pipeline], load_catalogue())

    def statuses(self) -> dict[str, str]:
        """Clips by how they stand, in the words of the output manifests."""
        statuses: dict[str, str] = {}
        for production in self.ledger.productions.all():
            with surveying(self.ledger, production, self.settings[production.pipeline]) as survey:
                for _, outcome in itertools.chain.from_iterable(survey.clips()):
                    statuses[clip_key(production.production_id, outcome.clip_id)] = str(outcome.status)
        return statuses

    def ambiguous(self) -> list[str]:
        """Keys of the clips whose submit lost its answer."""
        return [key for key, status in self.statuses().items() if status == "ambiguous"]

    def unfinished(self) -> list[dg.DagsterRun]:
        """Runs that have not ended."""
        open_states = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
        return list(self.instance.get_runs(filters=dg.RunsFilter(statuses=open_states)))

    def is_at_work(self) -> bool:
        """Whether a run goes on, or has left something behind that sensors still have to see to."""
        return bool(self.unfinished()) or any(map(self.ledger.batches.unfinished, ACCOUNTS))

    def situation(self) -> str:
        runs = [f"{run.job_name} {run.run_id[:8]} {run.status.value}" for run in self.unfinished()]
        productions = [self._said(production) for production in self.ledger.productions.all()]
        return f"{'; '.join(productions)}; runs {runs}; fired {dict(points.fired(self.markers))}"

    def _said(self, production: Production) -> str:
        name, progress = production.production_id, self._progress(production)
        if progress is None:
            return f"{name} is not read"
        counts = {str(status): count for status, count in progress.counts.items() if count}
        return f"{name}: {counts}, published: {progress.published}, stopped: {progress.stopped}"


_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


@contextmanager
def stage(
    folder: Path,
    sandbox: Mapping[str, Any],
    plan: Mapping[str, int],
    settings: Mapping[str, str],
    *,
    supervised: bool,
    database: str = "",
    dagster: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Stage]:
    """Set a stage up in an empty folder, in this process's environment too, and clear it in the end.

    Ledger and Dagster's storage are in an empty PostgreSQL ``database``, or in files of the home. ``dagster`` says what is
    replaced by what in the ``dagster.yaml`` that comes with the pipeline.
    """
    markers = folder / "markers"
    folder.mkdir(parents=True, exist_ok=True)
    daemon = MortalDaemon(folder / "daemon.log", supervised)
    kept = dict(os.environ)
    with contextlib.ExitStack() as closing:
        providers = {}
        for pipeline, account in ACCOUNTS.items():
            state = folder / f"provider-{account}"
            providers[pipeline] = MortalProvider(SandboxSettings(state_dir=state, **sandbox))
            closing.callback(providers[pipeline].close)
        built_in, acme = (providers[pipeline].endpoint for pipeline in (BUILT_IN, ACME))
        environment = {
            **IMPATIENCE,
            "DAGSTER_HOME": str(folder / "home"),
            "SORA_OUTPUT": str(folder / "out"),
            "SORA_BASE_URL": built_in.url,
            "SORA_API_KEY": built_in.api_key,
            second_pipeline.URL: acme.url,
            second_pipeline.KEY: acme.api_key,
            **settings,
            **points.environment(markers, plan),
            **({"SORA_LEDGER_URL": database} if database else {}),
        }
        closing.callback(_put_back, kept)
        _change_environment(environment)
        closing.callback(daemon.stop)
        home = prepare_home()
        config = home / "dagster.yaml"
        # A worker that was killed before it had begun is only noticed by this.
        text = config.read_text()
        for usual, other in {**HASTE, **dagster}.items():
            assert usual in text
            text = text.replace(usual, other)
        config.write_text(f"{text}\n{dagster_yaml()}" if database else text)
        ledger = Ledger(database or f"sqlite:///{home / 'ledger.db'}")
        closing.callback(ledger.close)
        by_pipeline = {pipeline: pipeline_of(pipeline).settings for pipeline in ACCOUNTS}
        with dg.DagsterInstance.get() as instance:
            yield Stage(folder, home, providers, daemon, ledger, instance, by_pipeline)


def kill_one(pids: list[int], dice: random.Random) -> bool:
    """Kill one of these processes; whether there was one."""
    if not pids:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(dice.choice(pids), signal.SIGKILL)
        return True
    return False


def _change_environment(environment: Mapping[str, str]) -> None:
    for name in list(os.environ):
        if name.startswith(("SORA_", "DAGSTER_", "GPTPROTO_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(environment)


def _put_back(environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)


def _session(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(pid)
    return -1


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
