"""Real databases: an SQLite file, emptied for every test, and the same tests on PostgreSQL under ``-m services``."""

import os
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.schema import metadata
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


@pytest.fixture(scope="session")
def schema() -> Iterator[Callable[[], str]]:
    """Makes URLs of empty PostgreSQL schemas, all gone after the tests."""
    admin = create_engine(POSTGRES_URL, isolation_level="AUTOCOMMIT")
    made: list[str] = []

    def make() -> str:
        made.append(f"ledger_{uuid.uuid4().hex}")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {made[-1]}"))
        url = make_url(POSTGRES_URL).update_query_dict({"options": f"-csearch_path={made[-1]}"})
        return url.render_as_string(hide_password=False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    admin.dispose()


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes URLs of databases that have nothing in them yet, not even a schema."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    make: Callable[[], str] = request.getfixturevalue("schema")
    return make


@pytest.fixture(scope="session")
def shared_ledger(new_url: Callable[[], str]) -> Iterator[Ledger]:
    """One for all tests: opening one takes longer than most tests."""
    opened = Ledger(new_url(), now=Clock())
    yield opened
    opened.close()


@pytest.fixture
def empty(shared_ledger: Ledger) -> Callable[[], Ledger]:
    """Gives the ledger with nothing in it and its clock set back."""

    def emptied() -> Ledger:
        with shared_ledger.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        assert isinstance(shared_ledger.now, Clock)
        shared_ledger.now.reset()
        return shared_ledger

    return emptied


@pytest.fixture
def ledger(empty: Callable[[], Ledger]) -> Ledger:
    return empty()


@pytest.fixture
def clock(ledger: Ledger) -> Clock:
    assert isinstance(ledger.now, Clock)
    return ledger.now


@pytest.fixture
def url(ledger: Ledger) -> str:
    """For a ledger object, thread or process of one's own."""
    return ledger.database.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def world(ledger: Ledger, clock: Clock) -> World:
    """A ledger with one production without a budget."""
    return World(ledger, clock)


@pytest.fixture
def poor_world(ledger: Ledger, clock: Clock) -> World:
    """A production that may spend three dollars."""
    return World(ledger, clock, budget=Decimal(3))
