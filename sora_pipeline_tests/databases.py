"""Where tests keep the ledger and Dagster's storage on PostgreSQL: a database for each test, gone afterwards."""

import os
import re
import uuid
from pathlib import Path

import dagster as dg
from sqlalchemy import create_engine, make_url, text

from sora_pipeline.ledger import Ledger

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "postgresql+psycopg2://postgres@127.0.0.1:5432/test")
DOCUMENTATION = Path(__file__).parent.parent / "docs" / "postgresql.md"


class Server:
    """A PostgreSQL server, and the databases that tests make in it.

    Args:
        url: Of any database of it, with the right to make others.
    """

    def __init__(self, url: str) -> None:
        self._url = make_url(url)
        self._admin = create_engine(self._url, isolation_level="AUTOCOMMIT")
        self._made: set[str] = set()

    def create(self, template: str | None = None) -> str:
        """Make a database, empty or a copy of another, and return its URL."""
        name = f"sora_{uuid.uuid4().hex}"
        like = f" TEMPLATE {make_url(template).database}" if template else ""
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}{like}"))
        self._made.add(name)
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = make_url(url).database
        assert name in self._made
        with self._admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        self._made.remove(name)

    def close(self) -> None:
        """Remove all that is left."""
        for name in sorted(self._made):
            self.drop(self._url.set(database=name).render_as_string(hide_password=False))
        self._admin.dispose()


def dagster_yaml() -> str:
    """What the documentation tells people to add to ``dagster.yaml``."""
    found = re.search(r"```yaml\n(storage:\n.*?)```", DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    assert found, f"{DOCUMENTATION} shows no storage"
    return found[1]


def prepare(url: str, home: Path) -> None:
    """Make the tables of the ledger and of Dagster, which is to find the database as the home says."""
    Ledger(url).close()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_dynamic_partitions("any")
