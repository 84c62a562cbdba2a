"""Ledgers of every earlier version: opened by this one they keep all they hold, and go on."""

import hashlib
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, create_engine, event, text

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import SCHEMA_VERSION
from sora_pipeline.ledger.rows import spec_of
from sora_pipeline.ledger.schema import VERSION_TABLE, metadata
from sora_pipeline.ledger.types import LIVE_STATES
from sora_pipeline.status import ClipStatus
from sora_pipeline_tests.ledger import racing
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.ledger.world import REAL, SANDBOX, VIDEO, Clock, World, clip

NOON = datetime(2026, 1, 1, 12)
Rows = dict[str, list[dict[str, Any]]]
MONDAY, TUESDAY, ELSEWHERE, TRIED = "1" * 16, "2" * 16, "3" * 16, "4" * 16
MENDED = "0" * 16
"""A failed.csv, run after tuesday.csv."""
PRODUCTIONS: list[dict[str, Any]] = [
    {"production_id": MONDAY, "manifest_uri": "/camp/monday.csv", "output_uri": "/out", "read_at": NOON},
    {
        "production_id": TUESDAY,
        "manifest_uri": "/camp/tuesday.csv",
        "output_uri": "/out",
        "read_at": NOON + timedelta(1),
        "published_at": NOON + timedelta(1),
    },
    {
        "production_id": MENDED,
        "manifest_uri": "/out/failed.csv",
        "output_uri": "/out",
        "read_at": NOON + timedelta(2),
        "published_at": NOON + timedelta(2),
    },
    {
        "production_id": ELSEWHERE,
        "manifest_uri": "/camp/tuesday.csv",
        "output_uri": "/out/monday",
        "read_at": NOON + timedelta(3),
    },
    {"production_id": TRIED, "manifest_uri": "/camp/first try.csv", "output_uri": "/try", "read_at": NOON},
]
CLIPS = {
    "taken": (TUESDAY, "a dog", "gptproto"),  # Monday's 'a cat' was delivered under this id
    "same": (TUESDAY, "a cat", "gptproto"),  # Monday paid for this very clip
    "live": (TUESDAY, "a dog", "gptproto"),  # Monday's 'a cat' renders
    "format": (TUESDAY, "a cat", "gptproto-unified"),  # delivered by another wire format
    "mended": (MENDED, "better", "gptproto"),
    "mended-new": (MENDED, "better", "gptproto"),
    "new": (TUESDAY, "a cat", "gptproto"),
    "edited": (TUESDAY, "after", "gptproto"),  # 'before' was delivered
    "refused": (TUESDAY, "a cat", "gptproto"),
    "lost": (ELSEWHERE, "a cat", "gptproto"),
    "under-way": (ELSEWHERE, "a cat", "gptproto"),
    "rendered": (ELSEWHERE, "a cat", "gptproto"),
    "late": (ELSEWHERE, "a cat", "gptproto"),
    "sending": (ELSEWHERE, "a cat", "gptproto"),
    "tried": (TRIED, "a cat", "sandbox"),
}
"""Clip id: the production that wants it, its prompt, and the wire format of its settings."""
ATTEMPTS = [
    ("taken", MONDAY, "a cat", "gptproto", "collected"),
    ("same", MONDAY, "a cat", "gptproto", "collected"),
    ("live", MONDAY, "a cat", "gptproto", "in_flight"),
    ("format", TUESDAY, "a cat", "gptproto", "collected"),
    ("mended", TUESDAY, "worse", "gptproto", "failed"),
    ("mended", MENDED, "better", "gptproto", "collected"),
    ("edited", TUESDAY, "before", "gptproto", "collected"),
    ("refused", TUESDAY, "a cat", "gptproto", "failed"),
    ("lost", ELSEWHERE, "a cat", "gptproto", "ambiguous"),
    ("under-way", ELSEWHERE, "a cat", "gptproto", "reserved"),
    ("rendered", ELSEWHERE, "a cat", "gptproto", "succeeded"),
    ("late", ELSEWHERE, "a cat", "gptproto", "timed_out"),
    ("sending", ELSEWHERE, "a cat", "gptproto", "submitting"),
    ("tried", TRIED, "a cat", "sandbox", "collected"),
    ("new", TUESDAY, "a cat", "gptproto", "reserved"),  # given up again
]
RELEASED = len(ATTEMPTS)
STAYS = {"taken": "monday", "live": "monday"}
"""Clips whose attempts stay with who paid for them; the others go with their clip."""
NAMES = {MONDAY: "monday", TUESDAY: "tuesday", MENDED: "tuesday", ELSEWHERE: "tuesday-2", TRIED: "first-try"}
OUTPUTS = {
    "monday": "/out/monday-2",  # the one that was published last keeps /out, and /out/monday is taken
    "tuesday": "/out",
    "tuesday-2": "/out/monday",
    "first-try": "/try",
}


def old_spec(prompt: str, provider: str) -> dict[str, Any]:
    spec = spec_of(clip("", prompt))
    del spec["simulated"]
    return spec | {"provider": provider}


def old_fingerprint(prompt: str, provider: str) -> str:
    """As the version wrote it that landed: a copy of its code, for it must never change."""
    decisive = [prompt, None, 4, "720x1280", "sora-2", provider]
    return hashlib.sha256(json.dumps(decisive, ensure_ascii=False).encode()).hexdigest()


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
    """A ledger as the version with this revision left it, in the middle of several productions."""
    engine = create_engine(url)
    with alembic_config() as config, engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        found = tables(connection).tables
        for name in ("productions", "batches", "clips", "attempts", "breakers", "pauses"):
            connection.execute(found[name].insert(), rows_for(found[name]))
        connection.execute(text(f"DELETE FROM attempts WHERE attempt_id = {RELEASED}"))
    with alembic_config() as config, engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def tables(connection: Connection) -> MetaData:
    reflected = MetaData()
    reflected.reflect(connection)
    return reflected


def rows_for(table: Table) -> list[dict[str, Any]]:
    """The story above, with a value in every column that it does not speak of."""
    rows: list[dict[str, Any]]
    match table.name:
        case "productions":
            plain = {"budget_micros": 100_000_000, "publisher": None, "error": None, "published_at": None}
            rows = [plain | {"requested_at": None} | each for each in PRODUCTIONS]
        case "clips":
            rows = [
                {
                    "clip_id": clip_id,
                    "production_id": production,
                    "fingerprint": old_fingerprint(prompt, provider),
                    "spec": old_spec(prompt, provider),
                    "position": at,
                    "round": 2 if clip_id in ("taken", "live", "edited", "mended") else 1,
                }
                for at, (clip_id, (production, prompt, provider)) in enumerate(CLIPS.items())
            ]
        case "attempts":
            rows = [
                {
                    "clip_id": clip_id,
                    "production_id": production,
                    "state": state,
                    "number": 2 if (clip_id, production) == ("mended", MENDED) else 1,
                    "round": 2 if (clip_id, production) == ("mended", MENDED) else 1,
                    "fingerprint": old_fingerprint(prompt, provider),
                    "provider": provider,
                    "cost_micros": 1_000_000 + number,
                    "request_summary": {"model": "sora-2", "size": "720x1280"},
                    "owner": None,
                    "lease_until": None,
                    "retryable": False,
                    "prediction_id": f"prediction-{number}",
                    "reported_at": NOON if state in ("failed", "collected") else None,
                }
                for number, (clip_id, production, prompt, provider, state) in enumerate(ATTEMPTS, 1)
            ]
        case "breakers" | "pauses":
            rows = [{"provider": "gptproto"}]
        case _:
            rows = [{"production_id": MONDAY}]
    return [
        {column.name: filler(column) for column in table.columns if column.name != "attempt_id"} | row
        for row in rows
    ]


def filler(column: Any) -> Any:
    """Any value that fits the column."""
    fillers = {str: column.name[:16], int: 3, float: 1.5, bool: True, datetime: NOON}
    return fillers.get(column.type.python_type, {"any": "JSON"})


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


@pytest.fixture
def before(new_url: Callable[[], str]) -> Rows:
    """What such a ledger held before productions had names: the same whichever version wrote it."""
    url = new_url()
    build(url, "0002")
    return content(url)


def is_new(url: str, before: Rows) -> None:
    """It has this version's schema, and nothing that it had is lost."""
    ledger = Ledger(url)
    with ledger.database.read() as connection:
        assert connection.scalars(text(f"SELECT version_num FROM {VERSION_TABLE}")).all() == [SCHEMA_VERSION]
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    assert len(ledger.ledger_id) == 36
    found = {each.production_id: each for each in ledger.productions.all()}
    assert {name: each.output_uri for name, each in found.items()} == OUTPUTS
    assert {each.pipeline for each in found.values()} == {""}
    assert {each.account for name, each in found.items() if name != "first-try"} == {"gptproto"}
    assert [name for name, each in found.items() if each.simulated] == ["first-try"]
    assert {(each.budget_usd, each.budget_given) for each in found.values()} == {(100, True)}
    require_right_counters(ledger)
    ledger.close()
    after = content(url)
    changed = {"clip_id", "production_id", "fingerprint", "provider"}
    for old, new in zip(by_id(before), by_id(after), strict=True):
        kept = {name: value for name, value in old.items() if name not in changed}
        assert {name: new[name] for name in kept} == kept
        assert (new["account"], new["provider"]) == (old["provider"], old["provider"])
        name = STAYS.get(old["clip_id"], NAMES[CLIPS[old["clip_id"]][0]])
        assert (new["clip_key"], new["production_id"]) == (f"{name}:{old['clip_id']}", name)
    for table in ("breakers", "pauses", "batches"):
        (row,) = before[table]
        kept = {("account" if column == "provider" else column): value for column, value in row.items()}
        kept.pop("production_id", None)
        (same,) = after[table]
        assert {column: same[column] for column in kept} == kept
    amended = {row["clip_key"]: row["spec"]["prompt"] for row in after["amendments"]}
    assert amended == {"tuesday:mended": "better", "tuesday:mended-new": "better"}


def by_id(rows: Rows) -> list[dict[str, Any]]:
    return sorted(rows["attempts"], key=lambda row: row["attempt_id"])


def test_nothing_is_lost(old: str, before: Rows) -> None:
    assert len(before["attempts"]) == len(ATTEMPTS) - 1
    Ledger(old).close()
    is_new(old, before)


def wants(world: World, *rows: tuple[str, str]) -> list[str]:
    """The campaign is read again: what of it would now be paid."""
    world.register(*(clip(clip_id, prompt) for clip_id, prompt in rows))
    return world.pending()


@pytest.fixture
def campaigns(old: str) -> Iterator[dict[str, World]]:
    """The productions of a migrated ledger, before any manifest is read again."""
    ledger = Ledger(old, now=Clock())
    worlds = {}
    for production in ledger.productions.all():
        account = SANDBOX if production.simulated else REAL
        worlds[production.production_id] = World.known(ledger, ledger.now, production, account)  # type: ignore[arg-type]
    yield worlds
    require_right_counters(ledger)
    ledger.close()


def test_nothing_is_paid_again_before_a_manifest_is_read(campaigns: dict[str, World]) -> None:
    monday, tuesday = campaigns["monday"], campaigns["tuesday"]
    elsewhere, tried = campaigns["tuesday-2"], campaigns["first-try"]
    assert [world.pending() for world in (monday, elsewhere, tried)] == [[], [], []]
    assert set(tuesday.pending()) == {"taken", "live", "new", "edited", "mended-new"}
    delivered = {name: world.counts().delivered for name, world in campaigns.items()}
    assert delivered == {"monday": 0, "tuesday": 3, "tuesday-2": 0, "first-try": 1}
    assert tuesday.standing("refused").status(3) == ClipStatus.FAILED
    assert [len(world.all_attempts()) for world in (monday, tuesday, elsewhere, tried)] == [2, 6, 5, 1]
    assert monday.committed() == Decimal("2.000004")


def test_nothing_is_paid_again_when_manifests_are_read_again(campaigns: dict[str, World]) -> None:
    monday, tuesday = campaigns["monday"], campaigns["tuesday"]
    assert wants(monday, ("taken", "a cat"), ("live", "a cat")) == []
    assert monday.standing("taken").status(3) == ClipStatus.DELIVERED
    assert monday.standing("live").status(3) == ClipStatus.IN_FLIGHT
    rows = {clip_id: prompt for clip_id, (production, prompt, _) in CLIPS.items() if production == TUESDAY}
    rows |= {"mended": "worse", "mended-new": "worse"}
    assert set(wants(tuesday, *rows.items())) == {"taken", "live", "new", "edited", "mended-new"}
    assert tuesday.standing("mended").clip.prompt == "better", "an amended row stands"
    assert tuesday.standing("mended").status(3) == ClipStatus.DELIVERED
    assert tuesday.standing("format").status(3) == ClipStatus.DELIVERED
    assert "edited" not in wants(tuesday, *(rows | {"edited": "before"}).items())
    assert tuesday.standing("edited").status(3) == ClipStatus.DELIVERED
    assert "mended" in wants(tuesday, *(rows | {"mended": "worst"}).items()), "until its own row changes"
    assert tuesday.standing("refused").status(3) == ClipStatus.FAILED
    tried = campaigns["first-try"]
    assert wants(tried, ("tried", "a cat")) == []
    tried.account = REAL
    assert wants(tried, ("tried", "a cat")) == ["tried"], "the sandbox's video is not the real thing"


def test_production_goes_on(campaigns: dict[str, World]) -> None:
    ledger = campaigns["monday"].ledger
    assert ledger.breakers.get("gptproto") is not None, "an open breaker stays open"
    assert ledger.breakers.begin_probe("gptproto", "batch-2")
    assert ledger.attempts.open_accounts() == {REAL: 3}
    live = {each.clip_key: each for each in ledger.attempts.live(*LIVE_STATES)}
    assert live.keys() == {
        "monday:live",
        *(f"tuesday-2:{each}" for each in ("lost", "under-way", "rendered", "late", "sending")),
    }
    monday, elsewhere = campaigns["monday"], campaigns["tuesday-2"]
    assert [each.clip_key for each in ledger.attempts.due(9, account="gptproto")] == ["monday:live"]
    assert elsewhere.begin_submit(live["tuesday-2:under-way"].attempt_id)
    for name in ("under-way", "sending", "lost"):
        assert elsewhere.accept(live[f"tuesday-2:{name}"].attempt_id)
    for each in live.values():
        assert elsewhere.succeed(each.attempt_id)
        assert ledger.attempts.collect(each.attempt_id, VIDEO, run_id="run")
    assert elsewhere.counts().delivered == 5
    assert wants(monday, ("taken", "a cat"), ("live", "a cat")) == []
    assert monday.counts().delivered == 2
    assert campaigns["tuesday"].collected("new") > RELEASED, "a released id never comes back"


@pytest.mark.parametrize("old", [earlier_revisions()[0], earlier_revisions()[-1]], indirect=True)
def test_many_that_open_it_at_once_migrate_it_once(old: str, before: Rows) -> None:
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
        executed += sql.lstrip().upper().startswith(("ALTER", "CREATE", "UPDATE", "DROP", "INSERT"))
        if executed == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "after_cursor_execute", count)
    Ledger(url)


@pytest.mark.parametrize("statement", [1, 4, 9, 18, 30])
def test_killed_migration_leaves_a_ledger_that_opens(old: str, before: Rows, statement: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_at, args=(old, statement))
    process.start()
    process.join()
    # From the last version on there are only a few statements.
    assert process.exitcode == -signal.SIGKILL or statement > 1
    is_new(old, before)
