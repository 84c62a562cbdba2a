"""Real databases: an SQLite file, emptied for every test, and the same tests on PostgreSQL under ``-m services``."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.schema import metadata
from sora_pipeline_tests.databases import Server
from sora_pipeline_tests.ledger.world import Clock, World


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def new_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Makes URLs of databases that have nothing in them yet, not even a schema."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}"
    server: Server = request.getfixturevalue("postgres")
    return server.create


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
