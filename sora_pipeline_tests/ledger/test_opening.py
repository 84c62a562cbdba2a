"""Opening a ledger: its schema is that of this version, and whatever is wrong is said clearly and without a password."""

import os
import sqlite3
import traceback
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from sora_pipeline.advice import explained
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import SCHEMA_VERSION, LedgerError
from sora_pipeline.ledger.schema import VERSION_TABLE, metadata
from sora_pipeline_tests.ledger.world import World


def test_version_this_code_knows_is_the_head_of_the_migrations() -> None:
    with resources.as_file(resources.files("sora_pipeline.ledger") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts))
        assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_fresh_ledger_is_at_the_head_revision(new_url: Callable[[], str]) -> None:
    url = new_url()
    Ledger(url).close()
    assert _version(url) == SCHEMA_VERSION


def _version(url: str) -> str | None:
    engine = create_engine(url)
    with engine.connect() as connection:
        version: str | None = connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    engine.dispose()
    return version


def test_migrations_make_what_the_code_believes(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_migrations_make_the_very_indexes_the_code_believes(tmp_path: Path) -> None:
    """The comparison above looks neither at the conditions of indexes nor at how ids are counted."""
    migrated, described = f"sqlite:///{tmp_path / 'a.db'}", f"sqlite:///{tmp_path / 'b.db'}"
    Ledger(migrated).close()
    engine = create_engine(described)
    metadata.create_all(engine)
    engine.dispose()
    assert _indexes(tmp_path / "a.db") == _indexes(tmp_path / "b.db")
    for path in (tmp_path / "a.db", tmp_path / "b.db"):
        with sqlite3.connect(path) as connection:
            sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'attempts'").fetchone()[0]
        assert "AUTOINCREMENT" in sql


def _indexes(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        return {" ".join(row[0].split()) for row in rows}


def test_ledger_is_opened_again_with_all_that_is_in_it(world: World, url: str) -> None:
    world.register("a")
    attempt_id = world.in_flight()
    again = Ledger(url)
    assert again.attempts.get(attempt_id).submission.prediction_id == f"prediction-{attempt_id}"
    again.close()


def test_ledger_of_a_newer_version_is_refused_and_both_are_named(new_url: Callable[[], str]) -> None:
    url = new_url()
    newer = Ledger(url)
    with newer.database.write() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0999'"))
    newer.close()
    with pytest.raises(LedgerError, match="0999") as caught:
        Ledger(url)
    assert SCHEMA_VERSION in str(caught.value)
    assert "nothing was changed" in str(caught.value)


def test_ledger_may_share_a_database_with_others_that_use_alembic(tmp_path: Path) -> None:
    """Dagster's own storage does."""
    path = tmp_path / "shared.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('7e2f3204cf8e')")
    Ledger(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("7e2f3204cf8e",)]


def test_folder_of_the_ledger_is_made(tmp_path: Path) -> None:
    Ledger(f"sqlite:///{tmp_path / 'not' / 'yet' / 'there 100%' / 'ledger.db'}").close()
    assert (tmp_path / "not" / "yet" / "there 100%" / "ledger.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "/data/ledger.db",
        "mysql://user:secret@host/ledger",
        "nonsense://user:secret@host/ledger",
        "postgresql+psycopg2://user:secret@host:port/ledger",
        "postgresql+psycopg2://user:top@secret@host/ledger",
    ],
)
def test_bad_url_is_a_clear_error_that_names_the_variable_and_no_password(url: str) -> None:
    with pytest.raises(LedgerError, match="URL") as caught:
        Ledger(url)
    assert "SORA_LEDGER_URL" in explained(caught.value)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+nodriver://user:secret@127.0.0.1:1/ledger",
        "postgresql+psycopg2://user:secret@127.0.0.1:1/ledger",
        "postgresql+psycopg2://user@127.0.0.1:1/ledger?password=secret",
    ],
)
def test_unreachable_database_is_a_clear_error_without_password(url: str) -> None:
    with pytest.raises(LedgerError, match=r"127\.0\.0\.1") as caught:
        Ledger(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_path_below_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


def test_path_that_is_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be opened: unable to open database file"):
        Ledger(f"sqlite:///{tmp_path}")


def test_file_that_is_no_database_is_a_clear_error_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("prompt\na cat\n" * 100)
    with pytest.raises(LedgerError, match="cannot be opened: file is not a database"):
        Ledger(f"sqlite:///{path}")
    assert path.read_text() == "prompt\na cat\n" * 100


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_intent_survives_a_power_cut_and_readers_do_not_wait(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    with ledger.database.read() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
        assert connection.scalar(text("PRAGMA synchronous")) == 2
        assert connection.scalar(text("PRAGMA foreign_keys")) == 1
    ledger.close()
