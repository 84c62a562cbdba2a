"""Ledgers of every earlier version: opened by this one they keep all they hold, and go on."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, event, text

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.ledger.database import SCHEMA_VERSION
from sora_pipeline.ledger.rows import spec_of
from sora_pipeline.ledger.schema import VERSION_TABLE, metadata
from sora_pipeline_tests.ledger import racing
from sora_pipeline_tests.ledger.world import VIDEO, Clock, World, clip

NOON = datetime(2026, 1, 1, 12)
PRODUCTION = "1" * 16
Rows = dict[str, list[dict[str, Any]]]


@contextmanager
def alembic_config() -> Iterator[Config]:
    with resources.as_file(resources.files("sora_pipeline.ledger") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts))
        yield config


def earlier_revisions() -> list[str]:
    with alembic_config() as config:
        found = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    return sorted(each for each in found if each != SCHEMA_VERSION)


def build(url: str, revision: str) -> None:
    """A ledger as the version with this revision left it, with rows in every table."""
    engine = create_engine(url)
    with alembic_config() as config, engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    with engine.begin() as connection:
        for table in tables(connection).sorted_tables:
            if table.name != VERSION_TABLE:
                connection.execute(table.insert(), rows_for(table))
    engine.dispose()


def tables(connection: Connection) -> MetaData:
    reflected = MetaData()
    reflected.reflect(connection)
    return reflected


def rows_for(table: Table) -> list[dict[str, Any]]:
    """Rows with a value in every column that this revision has."""
    rows: list[dict[str, Any]]
    match table.name:
        case "productions":
            rows = [
                {"production_id": PRODUCTION, "budget_micros": 100_000_000, "publisher": None, "error": None}
            ]
        case "clips":
            rows = [
                {
                    "clip_id": state,
                    "fingerprint": clip(state).fingerprint,
                    "spec": spec_of(clip(state)),
                    "position": at,
                    "round": 1,
                }
                for at, state in enumerate([*AttemptState, "new"])
            ]
        case "attempts":
            rows = [
                {
                    "clip_id": state.value,
                    "state": state.value,
                    "number": 1,
                    "round": 1,
                    "fingerprint": clip(state).fingerprint,
                    "cost_micros": 1_000_000,
                    "request_summary": {"model": "sora-2"},
                    "owner": None,
                    "retryable": False,
                }
                for state in AttemptState
            ]
        case "breakers":
            rows = [{"provider": "sandbox", "closed_at": None}]
        case _:
            rows = [{}]
    return [
        {column.name: filler(column) for column in table.columns if column.name != "attempt_id"} | row
        for row in rows
    ]


def filler(column: Any) -> Any:
    """Any value that fits the column."""
    kind = column.type.python_type
    if column.foreign_keys or column.name == "production_id":
        return PRODUCTION
    fillers = {str: column.name[:16], int: 3, float: 1.5, bool: True, datetime: NOON, object: {"any": "JSON"}}
    return fillers[kind]


def content(url: str) -> Rows:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            table.name: [dict(row) for row in connection.execute(table.select()).mappings()]
            for table in tables(connection).sorted_tables
            if table.name != VERSION_TABLE
        }
    engine.dispose()
    return {name: sorted(rows, key=lambda row: str(next(iter(row.values())))) for name, rows in found.items()}


@pytest.fixture(params=earlier_revisions())
def old(request: pytest.FixtureRequest, new_url: Callable[[], str]) -> str:
    """The URL of a full ledger of an earlier version."""
    url = new_url()
    build(url, request.param)
    return url


def is_new(url: str, before: Rows) -> None:
    """It has this version's schema, and every value that it had."""
    ledger = Ledger(url)
    with ledger.database.read() as connection:
        assert connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all() == [SCHEMA_VERSION]
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    ledger.close()
    after = content(url)
    kept = {
        name: [{column: row[column] for column in before[name][0]} for row in after[name]] for name in before
    }
    assert kept == before


def test_every_value_is_kept(old: str) -> None:
    before = content(old)
    assert {len(rows) > 0 for rows in before.values()} == {True}
    Ledger(old).close()
    is_new(old, before)


def test_production_goes_on(old: str) -> None:
    ledger = Ledger(old, now=Clock())
    breaker = ledger.breakers.get("sandbox")
    assert breaker is not None, "an open breaker stays open"
    assert ledger.breakers.begin_probe("sandbox", "batch-2")
    assert ledger.clips.pending(3) == ["new"]
    counts = ledger.clips.counts(PRODUCTION, 3)
    assert (counts.delivered, counts.failed, counts.pending) == (1, 1, 1)
    assert counts.clips == len(AttemptState) + 1
    world = World(ledger, ledger.now)  # type: ignore[arg-type]
    assert world.begin_submit(1)
    for attempt_id in (1, 2):
        assert world.accept(attempt_id)
    for attempt_id in (1, 2, 3):
        assert world.succeed(attempt_id)
    for attempt_id in (1, 2, 3, 4):
        assert ledger.attempts.collect(attempt_id, VIDEO, run_id="run")
    assert world.collected("new") > len(AttemptState)
    assert ledger.clips.counts(PRODUCTION, 3).delivered == 6
    ledger.close()


def test_many_that_open_it_at_once_migrate_it_once(old: str) -> None:
    before = content(old)
    context = multiprocessing.get_context("spawn")
    start = time.time() + 3
    opening = [context.Process(target=racing.open_ledger, args=(old, start)) for _ in range(4)]
    for each in opening:
        each.start()
    for each in opening:
        each.join()
    assert [each.exitcode for each in opening] == [0] * 4
    is_new(old, before)


def die_at(url: str, statement: int) -> None:
    """Open the ledger, and be killed as a migration's statement has been executed."""
    executed = 0

    def count(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        nonlocal executed
        executed += sql.lstrip().upper().startswith(("ALTER", "CREATE", "UPDATE"))
        if executed == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", count)
    Ledger(url)


@pytest.mark.parametrize("statement", [1, 4, 9, 10])
def test_killed_migration_leaves_a_ledger_that_opens(old: str, statement: int) -> None:
    before = content(old)
    process = multiprocessing.get_context("spawn").Process(target=die_at, args=(old, statement))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    is_new(old, before)
