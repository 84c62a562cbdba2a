"""The world most tests live in: a real sandbox server, a Dagster home of their own, a ledger, and manifests to produce."""

import csv
import os
import re
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import hypothesis
import pytest
from sqlalchemy import create_engine, text

from sora_pipeline.advice import explained
from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger, Production
from sora_pipeline.ledger.schema import VERSION_TABLE, metadata
from sora_pipeline.manifest import images
from sora_pipeline.names import CLIPS
from sora_pipeline.production import collecting, stuck, submitting
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.earlier_readings import EarlierReadings
from sora_pipeline.production.intake import (
    open_production,
    read_snapshot,
    register,
    require_affordable,
)
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline.provider import submit_gate
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.registry import make_provider
from sora_pipeline.sandbox.embedded import SandboxEndpoint, running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.settings import Settings, ledger_url
from sora_pipeline_tests.databases import POSTGRES_URL, Server, dagster_yaml, prepare
from sora_pipeline_tests.webhook import Webhook, running_webhook

# No test asserts how long anything takes: the machine may be busy.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

QUICK = {"render_s": 0.4, "late_file_s": 0.6, "slow_answer_s": 0.6, "fps": 6}
USD = Decimal("1.20")  # four seconds of 720p, sora-2-pro
HERE = Path(__file__).parent
SLOWEST_FIRST = "test_end_to_end.py"
NOT_OF_DATABASES = (
    "assets/test_clip_pages.py",
    "attacks/test_edited_outputs.py",
    "attacks/test_flaky_hosts.py",
    "attacks/test_odd_neighbours.py",
    "attacks/test_secrets_in_uris.py",
    "automation/control/test_jobs.py",
    "cli/test_adopt.py",
    "cli/test_beside.py",
    "cli/test_commands.py",
    "cli/test_dev.py",
    "cli/test_export.py",
    "cli/test_init.py",
    "cli/test_json.py",
    "cli/test_picks.py",
    "cli/test_stopping.py",
    "cli/test_tables.py",
    "headless/test_commands.py",
    "headless/test_home.py",
    "headless/test_interrupted.py",
    "headless/test_litellm_proxy.py",
    "headless/test_run_processes.py",
    "killing/test_referee.py",
    "media_server/test_links.py",
    "media_server/test_server.py",
    "notifications/test_webhook.py",
    "production/test_delta_table.py",
    "production/test_input_images.py",
    "production/test_naming.py",
    "production/test_ownership.py",
    "production/test_parameters_and_templates.py",
    "production/test_sidecars.py",
    "provider/test_example_package.py",
    "provider/test_registry.py",
    "test_definitions.py",
    "two_pipelines/test_real_daemon.py",
)
"""Tests of what is the same whatever database the ledger is in: on PostgreSQL they would say nothing more."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it at the end.

    Only ``-m services`` chooses the tests that need a service, and ``-m browser`` those that need a browser.
    """
    items.sort(key=lambda each: SLOWEST_FIRST not in each.path.name)
    twice = [each for each in items if _is_the_same_on_postgresql(each)]
    config.hook.pytest_deselected(items=twice)
    items[:] = [each for each in items if not _is_the_same_on_postgresql(each)]
    if config.option.markexpr:
        return
    unasked = [
        each for each in items if each.get_closest_marker("services") or each.get_closest_marker("browser")
    ]
    config.hook.pytest_deselected(items=unasked)
    items[:] = [each for each in items if each not in unasked]


def _is_the_same_on_postgresql(item: pytest.Item) -> bool:
    given = getattr(item, "callspec", None)
    on_postgresql = given is not None and given.params.get("postgres_url") == "postgresql"
    return on_postgresql and item.path.relative_to(HERE).as_posix() in NOT_OF_DATABASES


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# ---- the provider


@dataclass
class Sandbox:
    """The running provider, as a test steers it and looks into its books."""

    endpoint: SandboxEndpoint
    http: httpx.Client

    @property
    def url(self) -> str:
        return self.endpoint.url

    def change(self, **settings: Any) -> None:
        self.http.put("/sandbox/settings", json=settings).raise_for_status()

    def bill(self) -> dict[str, Any]:
        return dict(self.http.get("/sandbox/bill").raise_for_status().json())

    @property
    def billed(self) -> int:
        """How many submits were accepted, and so cost money."""
        return int(self.bill()["accepted"])

    def billed_for(self, words: str) -> int:
        """How often a prompt with these words was paid for."""
        return sum(count for prompt, count in self.bill()["by_prompt"].items() if words in prompt)


@pytest.fixture(scope="session")
def sandbox_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    # On a slow machine a worker may be at tests with servers of their own for a quarter of an hour.
    settings = SandboxSettings(
        state_dir=tmp_path_factory.mktemp("provider"), shared_renders=True, exit_when_idle_s=3600, **QUICK
    )
    with running_sandbox(settings) as endpoint, httpx.Client(base_url=endpoint.url, trust_env=False) as http:
        yield Sandbox(endpoint, http)


@pytest.fixture
def sandbox(sandbox_server: Sandbox) -> Iterator[Sandbox]:
    """A provider in good health with an empty bill; each worker has a server of its own."""
    before = sandbox_server.http.get("/sandbox/settings").json()
    yield sandbox_server
    sandbox_server.change(**before)
    sandbox_server.http.post("/sandbox/reset").raise_for_status()


# ---- the databases


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The PostgreSQL server of the tests."""
    server = Server(POSTGRES_URL)
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_template(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the empty tables of ledger and Dagster: making them for each test would take long."""
    url = postgres.create()
    home = tmp_path_factory.mktemp("template")
    (home / "dagster.yaml").write_text(dagster_yaml())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SORA_LEDGER_URL", url)
        prepare(url, home)
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A database for the ledger and Dagster's storage; None: both are files in the home, as they are by default."""
    if request.param == "sqlite":
        yield None
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.create(request.getfixturevalue("postgres_template"))
    yield url
    server.drop(url)


# ---- the home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str | None) -> Path:
    """A Dagster home in which nothing happened so far, and no setting of the machine's own."""
    for name in list(os.environ):
        if name.startswith(("SORA_", "DAGSTER_", "GPTPROTO_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("SORA_OUTPUT", str(tmp_path / "out"))
    monkeypatch.setenv("SORA_POLL_INTERVAL_S", "1")
    monkeypatch.setenv("SORA_SUBMITS_PER_MINUTE", "6000")
    if postgres_url:
        monkeypatch.setenv("SORA_LEDGER_URL", postgres_url)
        prepare_home()
        with (home / "dagster.yaml").open("a") as stream:
            stream.write(dagster_yaml())
    return home


class Clock:
    """The real time, which tests can turn forward."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def turn(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty ledger's file: going through its migrations for each test would take long."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    return path.read_bytes()


@pytest.fixture
def ledger(home: Path, clock: Clock, empty_ledger: bytes) -> Iterator[Ledger]:
    """The ledger of the home, with the clock that tests turn."""
    (home / "ledger.db").write_bytes(empty_ledger)
    opened = Ledger(url_of_ledger(home), now=clock)
    yield opened
    opened.close()


@pytest.fixture
def new_ledger(
    home: Path, postgres_url: str | None, request: pytest.FixtureRequest, empty_ledger: bytes
) -> Callable[[], Ledger]:
    """Opens one empty ledger after the other, for tests that begin anew again and again."""

    def make() -> Ledger:
        if postgres_url:
            server: Server = request.getfixturevalue("postgres")
            return Ledger(server.create(request.getfixturevalue("postgres_template")))
        path = home / f"{uuid.uuid4().hex}.db"
        path.write_bytes(empty_ledger)
        return Ledger(f"sqlite:///{path}")

    return make


def url_of_ledger(home: Path) -> str:
    """Where the program itself would look for the ledger."""
    return ledger_url(Settings.from_env(), home)


def lose_ledger(home: Path) -> None:
    """Make the home's ledger as if there had never been one."""
    url = url_of_ledger(home)
    if url.startswith("sqlite"):
        for path in home.glob("ledger.db*"):
            path.unlink()
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        for name in [*(table.name for table in metadata.sorted_tables), VERSION_TABLE]:
            connection.execute(text(f"DROP TABLE {name} CASCADE"))
    engine.dispose()


@pytest.fixture
def instance(home: Path, postgres_url: str | None) -> Iterator[dg.DagsterInstance]:
    """Dagster's storage: on PostgreSQL the home's own; instead of its SQLite files, which are slow, memory."""
    with dg.DagsterInstance.get() if postgres_url else dg.DagsterInstance.ephemeral() as instance:
        yield instance


# ---- what is produced

Rows = list[dict[str, Any]]


def write_manifest(path: Path, rows: Rows) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(**prompts: str) -> Rows:
    """Rows by clip id; an underscore in a name is a dash in the id."""
    return [{"clip_id": name.replace("_", "-"), "prompt": prompt} for name, prompt in prompts.items()]


@dataclass
class Producer:
    """Writes manifests, and reads and registers them as ``prompt_manifest`` does."""

    folder: Path
    ledger: Ledger
    instance: dg.DagsterInstance

    def __call__(
        self,
        rows: Rows,
        *,
        output: str = "",
        budget: Decimal | None = None,
        file: str = "prompts.csv",
        name: str = "",
        pipeline: str = "",
        **settings: Any,
    ) -> Production:
        path = write_manifest(self.folder / file, rows)
        return self.read(path, output=output, budget=budget, name=name, pipeline=pipeline, **settings)

    def read(
        self,
        path: Path,
        *,
        output: str = "",
        budget: Decimal | None = None,
        name: str = "",
        pipeline: str = "",
        **settings: Any,
    ) -> Production:
        """Read a manifest that is there already."""
        used = settings_of(**settings)
        target = str(self.folder / output) if output else ""
        request = ProductionRequest(manifest=str(path), name=name, output=target, budget_usd=budget)
        began_at = self.ledger.now()
        intake = open_production(self.ledger, used, pipeline, request)
        earlier = EarlierReadings(self.ledger, intake.decided)
        snapshot = read_snapshot(intake.file, used, load_catalogue(), explained, earlier)
        require_affordable(self.ledger, intake.decided, snapshot)
        identity = intake.decided.plan.production_id
        partitions = [clip_key(identity, clip.clip_id) for clip in snapshot.clips]
        self.instance.add_dynamic_partitions(f"{pipeline}_clips" if pipeline else CLIPS, partitions)
        return register(snapshot, intake.decided, self.ledger, began_at, used.max_attempts)


@pytest.fixture
def production(tmp_path: Path, ledger: Ledger, instance: dg.DagsterInstance) -> Producer:
    """Write rows as a manifest, read it, and make its clips what the ledger wants."""
    return Producer(tmp_path, ledger, instance)


@contextmanager
def refusal(error: type[SoraPipelineError], words: str) -> Iterator[None]:
    """``pytest.raises``, for what people read of an error: what to type included."""
    with pytest.raises(error) as caught:
        yield
    assert re.search(words, explained(caught.value)), explained(caught.value)


def settings_of(**values: Any) -> Settings:
    """Settings as the environment says, some of them changed; quicker than the limits for people allow."""
    return Settings.from_env().model_copy(update={"poll_interval_s": 0.15, **values})


# ---- work at the run_context


@dataclass
class RunContexts:
    """Opens contexts for runs of different owners and settings, and remembers what they said."""

    sandbox: Sandbox
    ledger: Ledger
    said: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(
        self, owner: str = "run-1", *, api_key: str | None = None, **values: Any
    ) -> AsyncIterator[RunContext]:
        config = ProviderConfig(
            name="sandbox", base_url=self.sandbox.url, api_key=api_key or self.sandbox.endpoint.api_key
        )
        async with make_provider(config) as provider:
            yield RunContext(
                ledger=self.ledger,
                provider=provider,
                settings=settings_of(**values),
                catalogue=load_catalogue(),
                owner=owner,
                say=self.said.append,
                explained=explained,
            )


@pytest.fixture
def contexts(sandbox: Sandbox, ledger: Ledger, impatient: None) -> RunContexts:
    return RunContexts(sandbox, ledger)


@pytest.fixture
async def run_context(contexts: RunContexts) -> AsyncIterator[RunContext]:
    """A run_context with a connected provider and the usual settings."""
    async with contexts.open() as run_context:
        yield run_context


def other_run(run_context: RunContext, owner: str = "run-2", **values: Any) -> RunContext:
    """The same context in the hands of another run."""
    return replace(run_context, owner=owner, settings=run_context.settings.model_copy(update=values))


@pytest.fixture
def webhook(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A webhook that listens, and is what the settings name."""
    with running_webhook() as webhook:
        monkeypatch.setenv("SORA_NOTIFY_URL", webhook.url)
        yield webhook


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits that are seconds for people are moments for tests."""
    for module in (collecting, submitting):
        monkeypatch.setattr(module, "LOOK_S", 0.1)
        monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.1)
    monkeypatch.setattr(collecting, "DOWNLOAD_WAITS_S", (0.1, 0.2, 0.3, 0.4))
    monkeypatch.setattr(submit_gate, "FIRST_WAIT_S", 0.1)
    monkeypatch.setattr(stuck, "ASK_AGAIN_S", 0.1)
    monkeypatch.setattr(images, "WAITS_S", (0.1, 0.2))


# ---- the command line


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run ``sora-pipeline`` with the environment of this moment."""
    return subprocess.run(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        capture_output=True,
        text=True,
        timeout=330,
        check=False,
        env=dict(os.environ),
    )


# ---- questions

PROMPTS = "prompts"
"""The production of ``prompts.csv``, which most tests make."""


def key(clip_id: str, production: str = PROMPTS) -> str:
    return clip_key(production, clip_id)


def keys(*clip_ids: str, production: str = PROMPTS) -> list[str]:
    return [clip_key(production, clip_id) for clip_id in clip_ids]


def ids(by_key: Iterable[str]) -> list[str]:
    """The bare ids of clip keys, in their order."""
    return [split_clip_key(each)[1] for each in by_key]


def standing(ledger: Ledger, clip_id: str, production: str = PROMPTS) -> ClipStanding:
    return ledger.clips.standings([key(clip_id, production)])[key(clip_id, production)]


def latest(ledger: Ledger, clip_id: str, production: str = PROMPTS) -> Attempt:
    attempt = standing(ledger, clip_id, production).latest
    assert attempt is not None, f"{clip_id} was never attempted"
    return attempt


def states(
    ledger: Ledger, clip_ids: list[str], production: str = PROMPTS
) -> Mapping[str, AttemptState | None]:
    """States of the newest attempts, by bare clip id."""
    standings = ledger.clips.standings(keys(*clip_ids, production=production))
    return {each.clip.clip_id: each.latest.state if each.latest else None for each in standings.values()}


Produce = Callable[..., Production]
