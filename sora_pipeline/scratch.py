"""A temporary SQLite database for what must be looked up by name and is too much to be held; it goes with whoever made it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sora_pipeline.spool import SpoolError


class Scratch:
    """A database in a temporary file that has no name.

    Args:
        schema: Statements that make its tables.
    """

    def __init__(self, schema: str) -> None:
        with self._explaining():
            # Objects may be thrown away by a thread that did not make them; none is used by two at once.
            self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            self._connection.executescript(
                f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {schema} BEGIN;"
            )

    def execute(self, statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
        """Run a statement.

        Raises:
            SpoolError: there is no space left.
        """
        with self._explaining():
            return self._connection.execute(statement, values)

    @staticmethod
    @contextmanager
    def _explaining() -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise SpoolError(
                f"a temporary database cannot be written: {error}.", "no_temporary_files"
            ) from error
