"""A ledger is migrated by one process while another of an earlier version is at work with it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import SCHEMA_VERSION, LedgerError
from sora_pipeline.ledger.schema import VERSION_TABLE
from sora_pipeline_tests.conftest import refusal
from sora_pipeline_tests.ledger.old_process import LEASE_S
from sora_pipeline_tests.ledger.test_migrations import build

EARLIER = "0008"
NEWER = "9999"


@contextmanager
def process(what: str, url: str) -> Iterator["subprocess.Popen[str]"]:
    """One that is at work with the ledger."""
    arguments = [sys.executable, "-m", "sora_pipeline_tests.ledger.old_process", what, url]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert line(started) == "at work"
            yield started
        finally:
            started.kill()


def line(started: "subprocess.Popen[str]") -> str:
    assert started.stdout is not None
    return started.stdout.readline().strip()


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def version(url: str) -> str:
    engine = create_engine(url)
    with engine.connect() as connection:
        found: str = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    engine.dispose()
    return found


@pytest.fixture
def earlier(new_url: Callable[[], str]) -> str:
    url = new_url()
    build(url, EARLIER)
    return url


def test_ledger_is_not_migrated_under_a_run_of_an_earlier_version(earlier: str) -> None:
    with process("hold", earlier) as old:
        with refusal(LedgerError, f"schema {EARLIER} of an earlier version.*UTC.*docs/upgrade.md"):
            Ledger(earlier)
        assert version(earlier) == EARLIER
        old.communicate("end\n")
    Ledger(earlier).close()
    assert version(earlier) == SCHEMA_VERSION


def test_run_that_was_killed_holds_the_migration_up_until_its_lease_ends(earlier: str) -> None:
    with process("hold", earlier) as old:
        old.kill()
        old.wait()
    with pytest.raises(LedgerError, match="Nothing was changed"):
        Ledger(earlier)
    over = datetime.now(UTC) - timedelta(seconds=LEASE_S)
    execute(earlier, f"UPDATE batches SET lease_until = '{over:%Y-%m-%d %H:%M:%S.%f}'")
    Ledger(earlier).close()
    assert version(earlier) == SCHEMA_VERSION


def test_ledger_is_not_migrated_under_a_daemon_that_has_shown_itself(earlier: str) -> None:
    shown = (
        "INSERT INTO pipelines (pipeline, settings, seen_at) VALUES ('', '{{}}', '{:%Y-%m-%d %H:%M:%S.%f}')"
    )
    execute(earlier, shown.format(datetime.now(UTC)))
    with pytest.raises(LedgerError, match="or a daemon"):
        Ledger(earlier)
    execute(earlier, "DELETE FROM pipelines", shown.format(datetime.now(UTC) - timedelta(minutes=2)))
    Ledger(earlier).close()
    assert version(earlier) == SCHEMA_VERSION


def test_process_that_nobody_saw_writes_nothing_after_a_migration(new_url: Callable[[], str]) -> None:
    url = new_url()
    Ledger(url).close()
    with process("write", url) as old:
        migrate = [
            f"UPDATE {VERSION_TABLE} SET version_num = '{NEWER}'",
            "ALTER TABLE batches ADD COLUMN later INTEGER",
        ]
        if url.startswith("postgresql"):
            migrate.insert(0, f"LOCK TABLE {VERSION_TABLE} IN ACCESS EXCLUSIVE MODE")
        execute(url, *migrate)
        written, _, said = line(old).partition(" ")
    assert f"was upgraded to the schema {NEWER} while this process was at work" in said
    engine = create_engine(url)
    with engine.connect() as connection:
        tries = connection.scalar(text("SELECT submit_tries FROM batches WHERE batch_id = 'written'"))
    engine.dispose()
    assert tries == int(written)
    with pytest.raises(LedgerError, match="Install the newer"):
        Ledger(url)
