"""Where this project keeps its ledger and Dagster's storage while it is measured: SQLite files, or a PostgreSQL database."""

import contextlib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from sora_pipeline_tests.databases import POSTGRES_URL, Server, dagster_yaml

SQLITE, POSTGRESQL = "sqlite", "postgresql"


class NoServerError(Exception):
    """Raised where no PostgreSQL server can be used; the text says which was tried."""


@contextlib.contextmanager
def database_of(kind: str, home: Path) -> Iterator[Mapping[str, str]]:
    """The variables that name the database, which is gone afterwards; the Dagster home is told of it.

    Raises:
        NoServerError: there is no PostgreSQL server at ``TEST_POSTGRES_URL``.
    """
    if kind == SQLITE:
        yield {}
        return
    server = Server(POSTGRES_URL)
    try:
        url = server.create()
    except SQLAlchemyError as error:
        raise NoServerError(
            "no PostgreSQL server with the right to make databases is at TEST_POSTGRES_URL "
            f"(default postgresql+psycopg2://postgres@127.0.0.1:5432/test): {str(error).splitlines()[0]}"
        ) from None
    try:
        default = (resources.files("sora_pipeline.headless") / "dagster.yaml").read_text("utf-8")
        (home / "dagster.yaml").write_text(f"{default}{dagster_yaml()}", "utf-8")
        yield {"SORA_LEDGER_URL": url}
    finally:
        server.close()
