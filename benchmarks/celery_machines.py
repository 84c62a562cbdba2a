"""Control and workers of ``deploy/celery`` on this machine, with servers of their own, so that what each uses can be told apart."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import Engine, create_engine, make_url, text

from benchmarks.contenders import HERE
from benchmarks.measure import ProcessTree
from sora_pipeline.sandbox.embedded import SandboxEndpoint
from sora_pipeline_tests.cluster import Cluster
from sora_pipeline_tests.deploy.broker import Broker
from sora_pipeline_tests.deploy.places import DEPLOY, procfile

STORAGE = "BENCH_DAGSTER_STORAGE"
"""Dagster's storage has a database of its own, so that the ledger's transactions can be counted."""
WORKER = "worker"
STRANGE = ("SORA_", "DAGSTER_", "GPTPROTO_", "CELERY_", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True, slots=True)
class Databases:
    """The server, its two databases, and what both have committed so far."""

    server: psutil.Process
    admin: Engine
    ledger: str
    storage: str

    def committed(self, url: str) -> int:
        """Transactions of a database since it was made."""
        query = text("SELECT xact_commit FROM pg_stat_database WHERE datname = :name")
        with self.admin.connect() as connection:
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            return int(connection.scalar(query, {"name": make_url(url).database}))

    def cpu_s(self) -> float:
        """CPU seconds of the server: its own, and those of its processes, also of those that have ended."""
        own = self.server.cpu_times()
        seconds = own.user + own.system + own.children_user + own.children_system
        for child in self.server.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = child.cpu_times()
                seconds += times.user + times.system
        return float(seconds)


@contextlib.contextmanager
def databases() -> Iterator[Databases]:
    """A PostgreSQL server of its own, with an empty database for the ledger and one for Dagster's storage."""
    cluster = Cluster()
    admin = create_engine(cluster.url, isolation_level="AUTOCOMMIT")
    try:
        urls = []
        for name in ("ledger", "storage"):
            with admin.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
            urls.append(make_url(cluster.url).set(database=name).render_as_string(hide_password=False))
        yield Databases(_listening(cluster.port), admin, *urls)
    finally:
        admin.dispose()
        cluster.remove()


def _listening(port: int) -> psutil.Process:
    """The server's first process: the one whose parent is no server."""
    of_server = [each for each in psutil.process_iter(["cmdline"]) if f"-p{port}" in _joined(each)]
    return min(of_server, key=lambda each: each.create_time())


def _joined(process: psutil.Process) -> str:
    return "".join(process.info["cmdline"] or ())


@dataclass(frozen=True, slots=True)
class Machines:
    """What was started.

    Attributes:
        environment: Of a person's command on one of them.
        trees: Processes with all that they start, by what they are.
    """

    environment: Mapping[str, str]
    trees: Mapping[str, ProcessTree]

    def cpu_s(self, role: str) -> float:
        """CPU seconds of all processes of a kind so far."""
        return sum(tree.usage().cpu_s for name, tree in self.trees.items() if name.startswith(role))

    def sample(self) -> None:
        """Look at every process once."""
        for tree in self.trees.values():
            tree.sample()


@contextlib.contextmanager
def machines(
    folder: Path,
    workers: int,
    database: Databases,
    endpoint: SandboxEndpoint,
    settings: Mapping[str, str],
) -> Iterator[Machines]:
    """One control (code server and daemon) and so many workers, by the commands of the ``Procfile``."""
    with contextlib.ExitStack() as closing:
        broker = Broker()
        closing.callback(broker.remove)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(STRANGE)},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            STORAGE: database.storage,
            "CELERY_RESULT_BACKEND": f"db+{database.storage}",
            "CELERY_BROKER_URL": broker.url,
            "SORA_LEDGER_URL": database.ledger,
            "SORA_OUTPUT": str(folder / "out"),
            "SORA_BASE_URL": endpoint.url,
            "SORA_API_KEY": endpoint.api_key,
            **settings,
        }
        port = _free_port()
        trees: dict[str, ProcessTree] = {}
        for role in ("code", "daemon", *(f"{WORKER}-{number}" for number in range(workers))):
            tree = ProcessTree(
                _command(role, port, folder),
                environment={**environment, "DAGSTER_HOME": str(_home(folder / role))},
                folder=HERE,
                log=folder / f"{role}.log",
            )
            trees[role] = closing.enter_context(tree)
        yield Machines({**environment, "DAGSTER_HOME": str(_home(folder / "person"))}, trees)


def _home(folder: Path) -> Path:
    folder.mkdir()
    text_of = (DEPLOY / "celery" / "dagster.yaml").read_text().replace("SORA_LEDGER_URL", STORAGE)
    (folder / "dagster.yaml").write_text(text_of)
    return folder


def _command(role: str, port: int, folder: Path) -> list[str]:
    """As the Procfile has it, with a port that is free."""
    workspace = folder / "workspace.yaml"
    workspace.write_text((DEPLOY / "celery" / "workspace.yaml").read_text().replace("4000", str(port)))
    other = {"4000": str(port), "workspace.yaml": str(workspace)}
    command = [other.get(word, word) for word in procfile()[role.partition("-")[0]]]
    return [*command, "--hostname", f"{role}@%h"] if role.startswith(WORKER) else command


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
