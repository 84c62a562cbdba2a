"""Real databases: an SQLite file, emptied for every test, and the same tests on PostgreSQL under ``-m services``."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.ledger.schema import about, metadata
from sora_pipeline_tests.databases import Server
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.ledger.world import REAL, SANDBOX, Clock, World


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
                if table is not about:
                    connection.execute(table.delete())
        assert isinstance(shared_ledger.now, Clock)
        shared_ledger.now.reset()
        return shared_ledger

    return emptied


@pytest.fixture
def ledger(empty: Callable[[], Ledger]) -> Iterator[Ledger]:
    """An empty ledger; whatever a test does, its counters are right afterwards."""
    ledger = empty()
    yield ledger
    require_right_counters(ledger)


@pytest.fixture
def clock(ledger: Ledger) -> Clock:
    assert isinstance(ledger.now, Clock)
    return ledger.now


@pytest.fixture
def url(ledger: Ledger) -> str:
    """For a ledger object, thread or process of one's own."""
    return ledger.database.engine.url.render_as_string(hide_password=False)


NEIGHBOURS = {"an account apart": REAL, "the same account": SANDBOX}


def neighbour_of(ledger: Ledger, clock: Clock, account: Account) -> World:
    """Another production of another pipeline, whose clips have the ids that tests use, and are at all there is.

    At the same account nothing of it takes a slot or is due, so that tests can count.
    """
    world = World(ledger, clock, name="campaign-2", pipeline="beside", account=account, budget=Decimal(100))
    ends = ["collected", "failed", "ambiguous", "timed_out"]
    ids = ["a", "b", "c", "d", "e", "f", "g", "late"]
    world.register(*ids)
    states = ends if account == SANDBOX else ["in_flight", *ends, "reserved", "submitting"]
    for clip_id, state in zip(ids, states, strict=False):
        world.at(state, clip_id)
    return world


@pytest.fixture(params=NEIGHBOURS)
def neighbour(request: pytest.FixtureRequest, ledger: Ledger, clock: Clock) -> Iterator[World]:
    """A production in the same ledger with the same clip ids; nothing that a test does may change it."""
    world = neighbour_of(ledger, clock, NEIGHBOURS[request.param])
    before = world.snapshot()
    yield world
    assert world.snapshot() == before


@pytest.fixture
def world(ledger: Ledger, clock: Clock, neighbour: World) -> World:
    """A production without a budget, and a neighbour in the same ledger."""
    return World(ledger, clock)


@pytest.fixture
def poor_world(ledger: Ledger, clock: Clock, neighbour: World) -> World:
    """A production that may spend three dollars, and a neighbour in the same ledger."""
    return World(ledger, clock, budget=Decimal(3))


@pytest.fixture
def world_apart(ledger: Ledger, clock: Clock) -> Iterator[World]:
    """A production that has its account for itself; its neighbour has another."""
    neighbour = neighbour_of(ledger, clock, REAL)
    before = neighbour.snapshot()
    yield World(ledger, clock)
    assert neighbour.snapshot() == before
