"""Real databases: an SQLite file of its own for every test, and the same tests on PostgreSQL under ``-m services``."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.ledger import utc_now
from sora_pipeline_tests.ledger.world import Clock, World

POSTGRES_URL = os.environ.get("SORA_TEST_POSTGRES_URL", "postgresql+psycopg2://postgres@127.0.0.1:5432/test")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only ``-m services`` chooses the tests that need a service."""
    if config.option.markexpr:
        return
    unasked = [each for each in items if each.get_closest_marker("services") and HERE in each.path.parents]
    config.hook.pytest_deselected(items=unasked)
    items[:] = [each for each in items if each not in unasked]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty ledger to copy: going through the migrations for each would take most of the time."""
    path = tmp_path_factory.mktemp("empty") / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def schema() -> Iterator[str]:
    """The URL of an empty PostgreSQL schema, gone after the test."""
    name = f"ledger_{uuid.uuid4().hex}"
    admin = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {name}"))
    url = make_url(POSTGRES_URL).update_query_dict({"options": f"-csearch_path={name}"})
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    admin.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes the URL of an empty ledger, as often as asked; on PostgreSQL the one before is emptied."""
    if request.param == "sqlite":
        template = request.getfixturevalue("empty_sqlite")
        return lambda: f"sqlite:///{shutil.copy(template, tmp_path / f'{uuid.uuid4().hex}.db')}"
    url: str = request.getfixturevalue("schema")
    Ledger(url).close()

    def emptied() -> str:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE productions, clips, attempts, batches, breakers CASCADE"))
        engine.dispose()
        return url

    return emptied


@pytest.fixture
def url(fresh_url: Callable[[], str]) -> str:
    return fresh_url()


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger(url, now=clock)
    yield opened
    opened.close()


@pytest.fixture
def world(ledger: Ledger, clock: Clock) -> World:
    """A ledger with one production without a budget."""
    return World(ledger, clock)


@pytest.fixture
def real_time_world(url: str) -> Iterator[World]:
    """The same for tests whose other threads and processes have the real clock."""
    opened = Ledger(url, now=utc_now)
    yield World(opened, Clock())
    opened.close()


@pytest.fixture
def poor_world(ledger: Ledger, clock: Clock) -> World:
    """A production that may spend three dollars."""
    return World(ledger, clock, budget=Decimal(3))
