"""The sandbox's memory on disk: jobs and a few marks in SQLite, written by one thread that commits in groups.

An awaited write is committed when it returns; the others follow soon, in order.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from sora_pipeline.sandbox.jobs import Job, Outcome
from sora_pipeline.sandbox.size import Size

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, wire TEXT NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, duration INTEGER NOT NULL,
    size TEXT NOT NULL, image_sha256 TEXT, cost_usd TEXT NOT NULL, accepted_at REAL NOT NULL,
    ready_at REAL NOT NULL, faults TEXT NOT NULL, ended_at REAL, outcome TEXT, error TEXT
);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
_SAVE_JOB = """
INSERT OR REPLACE INTO jobs VALUES (:id, :wire, :model, :prompt, :duration, :size, :image_sha256, :cost_usd,
    :accepted_at, :ready_at, :faults, :ended_at, :outcome, :error)
"""
_SAVE_MARK = "INSERT OR REPLACE INTO marks VALUES (:name, :value)"

_Write = tuple[str, Mapping[str, Any], "asyncio.Future[None] | None"]


class JobDatabase:
    """Jobs and marks that survive a kill.

    Args:
        path: The SQLite file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name="sandbox-database", daemon=True)

    def load(self) -> tuple[list[Job], dict[str, int]]:
        """Everything written so far; then starts to take writes."""
        rows = self._connection.execute("SELECT * FROM jobs ORDER BY accepted_at").fetchall()
        marks = dict(self._connection.execute("SELECT name, value FROM marks").fetchall())
        self._thread.start()
        return [_job(row) for row in rows], marks

    async def add(self, job: Job) -> None:
        """Save a job; committed when this returns."""
        await self._wait_for(_SAVE_JOB, _row(job))

    def update(self, job: Job) -> None:
        """Save a job soon."""
        self._writes.put((_SAVE_JOB, _row(job), None))

    def mark(self, name: str, value: int) -> None:
        """Save a mark soon."""
        self._writes.put((_SAVE_MARK, {"name": name, "value": value}, None))

    async def flush(self) -> None:
        """Everything so far is committed when this returns."""
        await self._wait_for("SELECT 1", {})

    def clear(self) -> None:
        """Forget everything soon."""
        self._writes.put(("DELETE FROM jobs", {}, None))
        self._writes.put(("DELETE FROM marks", {}, None))

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        self._writes.put(None)
        self._thread.join()
        self._connection.close()

    async def _wait_for(self, statement: str, values: Mapping[str, Any]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writes.put((statement, values, done))
        await done

    def _write_all(self) -> None:
        while True:
            batch = [self._writes.get()]
            while not self._writes.empty():
                batch.append(self._writes.get())
            writes = [write for write in batch if write is not None]
            self._commit(writes)
            if len(writes) < len(batch):
                return

    def _commit(self, writes: list[_Write]) -> None:
        failure: sqlite3.Error | None = None
        try:
            self._connection.execute("BEGIN")
            for statement, values, _ in writes:
                self._connection.execute(statement, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            failure = error
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        for _, _, done in writes:
            if done is not None:
                done.get_loop().call_soon_threadsafe(_resolve, done, failure)


def _resolve(done: "asyncio.Future[None]", failure: Exception | None) -> None:
    if done.cancelled():
        return
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)


def _row(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "wire": job.wire,
        **job.what_is_billed(),
        "accepted_at": job.accepted_at,
        "ready_at": job.ready_at,
        "faults": ",".join(job.fault_names),
        "ended_at": job.ended_at,
        "outcome": job.outcome,
        "error": job.error,
    }


def _job(row: tuple[Any, ...]) -> Job:
    (
        id_,
        wire,
        model,
        prompt,
        duration,
        size,
        image,
        cost,
        accepted,
        ready,
        faults,
        ended,
        outcome,
        error,
    ) = row
    return Job(
        id=id_,
        wire=wire,
        model=model,
        prompt=prompt,
        duration=duration,
        size=Size.parse(size),
        image_sha256=image,
        cost_usd=Decimal(cost),
        accepted_at=accepted,
        ready_at=ready,
        fault_names=tuple(faults.split(",")) if faults else (),
        ended_at=ended,
        outcome=Outcome(outcome) if outcome else None,
        error=error,
    )
