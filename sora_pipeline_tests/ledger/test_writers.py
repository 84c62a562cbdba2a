"""Threads of one process that write to a ledger in SQLite."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sora_pipeline.ledger import Ledger, database


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """One whose SQLite waits for nobody."""
    with monkeypatch.context() as patch:
        patch.setattr(database, "BUSY_S", 0)
        return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def test_writers_wait_for_one_another_and_not_for_one_that_failed(impatient: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), impatient.database.write():
        raise ZeroDivisionError
    inside, written = threading.Event(), []

    def first() -> None:
        with impatient.database.write():
            inside.set()
            other.submit(second)
            threading.Event().wait(0.3)
            written.append("first")

    def second() -> None:
        with impatient.database.write():
            written.append("second")

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        one.submit(first).result(30)
        assert inside.is_set()
    assert written == ["first", "second"]
    impatient.close()


def test_who_waited_for_long_hears_what_is_wrong(impatient: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a thread that would wait for itself."""
    monkeypatch.setattr(database, "BUSY_S", 0.2)
    with impatient.database.write(), pytest.raises(Exception, match="locked"), impatient.database.write():
        pass
    with impatient.database.write():
        pass
    impatient.close()
