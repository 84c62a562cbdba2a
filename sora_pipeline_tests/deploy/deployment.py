"""A deployment of ``deploy/celery``: a control and workers that share nothing but PostgreSQL, RabbitMQ and an S3 API."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.cluster import Cluster
from sora_pipeline_tests.deploy.broker import Broker
from sora_pipeline_tests.deploy.machine import Machine
from sora_pipeline_tests.deploy.places import DEPLOY, procfile
from sora_pipeline_tests.killing import points, second_pipeline
from sora_pipeline_tests.killing.second_pipeline import ACCOUNTS, ACME, BUILT_IN, pipeline_of
from sora_pipeline_tests.killing.stage import MODULE, MortalProvider, Stage
from sora_pipeline_tests.object_stores.s3 import BUCKET, ObjectStore

OUTPUT = "out"
WORKERS = 2
CONTROL = ("code", "daemon", "web")
IMPATIENCE = {
    "SORA_LEASE_S": "20",
    "SORA_POLL_INTERVAL_S": "1",
    "SORA_SUBMITS_PER_MINUTE": "6000",
    "DAGSTER_DISABLE_TELEMETRY": "1",
}
HASTE = {
    "start_timeout_seconds: 180": "start_timeout_seconds: 60",
    "poll_interval_seconds: 30": "poll_interval_seconds: 5",
    "unseen_after_seconds: 180": "unseen_after_seconds: 30",
}
"""How soon Dagster looks after its runs."""


@dataclass
class Hosts:
    """The machines, all of which a service manager looks after; what ``Stage`` takes for its daemon.

    Attributes:
        control: Code server, daemon and web server.
        workers: One Celery worker each.
        markers: Folder in which runs say that they have died at a fault point.
        victims: The workers that were killed with such a run, by number.
    """

    control: Machine
    workers: list[Machine]
    markers: Path
    victims: list[int] = field(default_factory=list)
    _runs: dict[int, int] = field(default_factory=dict)

    def ensure(self) -> None:
        for machine in (self.control, *self.workers):
            machine.ensure()
        for number, worker in enumerate(self.workers):
            self._runs.update(dict.fromkeys(worker.pids("worker"), number))

    def arm(self, point: str) -> None:
        """Let the next run that comes to a fault point die there."""
        (self.markers / f"{point}.0.fired").unlink()

    def kill_victim(self, point: str) -> bool:
        """Kill the worker whose run has died at a fault point, with all its processes; whether there was one."""
        marker = self.markers / f"{point}.0.fired"
        if not marker.exists() or len(said := marker.read_text().split()) < 2:
            return False
        number = self._runs[int(said[1])]
        self.workers[number].kill("worker")
        self.victims.append(number)
        return True

    def close(self) -> None:
        for machine in (self.control, *self.workers):
            machine.close()


@dataclass
class Deployment(Stage):
    """The stage of the kill tests, on several hosts.

    Attributes:
        cluster: PostgreSQL, with the ledger and Dagster's storage.
        broker: RabbitMQ.
        store: The outputs and manifests.
        code_port: Of the code server.
        web_url: Of the UI.
    """

    daemon: Hosts  # type: ignore[assignment]
    cluster: Cluster = None  # type: ignore[assignment]
    broker: Broker = None  # type: ignore[assignment]
    store: ObjectStore = None  # type: ignore[assignment]
    code_port: int = 0
    web_url: str = ""

    def output_of(self, production: Production, folder: Path) -> Path:
        """A local copy of a production's output."""
        return self.store.copy_to(folder, production.output_uri.removeprefix(f"s3://{BUCKET}/"))


@contextmanager
def deployment(
    render_s: float, armed: Mapping[str, int], settings: Mapping[str, str]
) -> Iterator[Deployment]:
    """Set a deployment up, this process as a person's machine with it, and clear it all away in the end.

    Args:
        render_s: How long the providers render.
        armed: Fault points by how often they may fire, each once ``Hosts.arm`` was called.
        settings: Environment of every host.
    """
    with contextlib.ExitStack() as closing:
        # Not below pytest's own folder, which other users cannot pass.
        folder = Path(tempfile.mkdtemp(prefix="sora-deployment-"))
        closing.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        cluster, broker, store = _services(closing)
        providers = {}
        for pipeline, account in ACCOUNTS.items():
            providers[pipeline] = MortalProvider(
                SandboxSettings(
                    state_dir=folder / f"provider-{account}", render_s=render_s, shared_renders=True, fps=6
                )
            )
            closing.callback(providers[pipeline].close)
        markers = folder / "markers"
        plan = points.environment(markers, armed)
        markers.chmod(0o777)
        for point, times in armed.items():
            for number in range(times):
                (markers / f"{point}.{number}.fired").touch()
        environment = {
            **IMPATIENCE,
            "SORA_LEDGER_URL": cluster.url,
            "CELERY_RESULT_BACKEND": f"db+{cluster.url}",
            "CELERY_BROKER_URL": broker.url,
            "SORA_OUTPUT": f"s3://{BUCKET}/{OUTPUT}",
            "SORA_BASE_URL": providers[BUILT_IN].endpoint.url,
            "SORA_API_KEY": providers[BUILT_IN].endpoint.api_key,
            second_pipeline.URL: providers[ACME].endpoint.url,
            second_pipeline.KEY: providers[ACME].endpoint.api_key,
            **store.environment(),
            **settings,
        }
        ports = _free_port(), _free_port()
        hosts = _hosts(folder, environment, plan, ports)
        closing.callback(_show_logs, folder)
        closing.callback(hosts.close)
        closing.enter_context(_environment({**environment, "DAGSTER_HOME": str(_home(folder / "person"))}))
        ledger = Ledger(cluster.url)
        closing.callback(ledger.close)
        for role in CONTROL:
            hosts.control.start(role, _command(role, ports))
        for number, worker in enumerate(hosts.workers):
            worker.start("worker", [*_command("worker", ports), "--hostname", f"worker-{number}@%h"])
        by_pipeline = {pipeline: pipeline_of(pipeline).settings for pipeline in ACCOUNTS}
        with dg.DagsterInstance.get() as instance:
            yield Deployment(
                folder,
                folder / "person",
                providers,
                hosts,  # type: ignore[arg-type]
                ledger,
                instance,
                by_pipeline,
                cluster,
                broker,
                store,
                ports[0],
                f"http://127.0.0.1:{ports[1]}",
            )


def _services(closing: contextlib.ExitStack) -> tuple[Cluster, Broker, ObjectStore]:
    cluster = Cluster()
    closing.callback(cluster.remove)
    broker = Broker()
    closing.callback(broker.remove)
    store = ObjectStore()
    closing.callback(store.close)
    return cluster, broker, store


def _hosts(
    folder: Path, environment: Mapping[str, str], plan: Mapping[str, str], ports: tuple[int, int]
) -> Hosts:
    workspace = (DEPLOY / "celery" / "workspace.yaml").read_text().replace("4000", str(ports[0]))
    files = {"home/dagster.yaml": _dagster_yaml(), "work/workspace.yaml": workspace}
    control = Machine(folder, 0, environment, files)
    workers = [Machine(folder, 1 + n, {**environment, **plan}, files) for n in range(WORKERS)]
    return Hosts(control, workers, folder / "markers")


def _dagster_yaml() -> str:
    text = (DEPLOY / "celery" / "dagster.yaml").read_text()
    for usual, other in HASTE.items():
        assert usual in text
        text = text.replace(usual, other)
    return text


def _home(folder: Path) -> Path:
    folder.mkdir()
    (folder / "dagster.yaml").write_text(_dagster_yaml())
    return folder


def _command(role: str, ports: tuple[int, int]) -> list[str]:
    """As the Procfile has it, with the code location that has fault points, and ports that are free."""
    other = {"sora_pipeline.definitions": MODULE, "4000": str(ports[0]), "3000": str(ports[1])}
    return [other.get(word, word) for word in procfile()[role]]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def _environment(environment: Mapping[str, str]) -> Iterator[None]:
    kept = dict(os.environ)
    for name in kept:
        if name.startswith(("SORA_", "DAGSTER_", "GPTPROTO_", "AWS_", "CELERY_")) or name.lower().endswith(
            "_proxy"
        ):
            del os.environ[name]
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _show_logs(folder: Path) -> None:
    for log in sorted(folder.glob("*.log")):
        print(f"==== {log.name}\n{log.read_text('utf-8', 'replace')[-5000:]}")
