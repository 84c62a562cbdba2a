"""The trigger of the contender on Airflow: submits, asks and downloads on the triggerer's event loop, then ends its task."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent

from benchmarks.provider_client import Row, make_clip, open_client


@cache
def _slots() -> asyncio.Semaphore:
    """Clips that may render at once: Airflow's pools do not count tasks that begin in the triggerer."""
    return asyncio.Semaphore(int(os.environ["BENCH_IN_FLIGHT"]))


@cache
def _client() -> httpx.AsyncClient:
    return open_client(os.environ["BENCH_URL"])


class ClipTrigger(BaseTrigger):
    """Makes one clip."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row = row

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """For Airflow's database."""
        return "benchmarks.peers.airflow_trigger.ClipTrigger", {"row": self.row}

    async def run(self) -> AsyncIterator[TaskSuccessEvent | TaskFailedEvent]:
        """Make it, and say how that ended."""
        async with _slots():
            try:
                await make_clip(_client(), self.row, Path(os.environ["BENCH_OUTPUT"]))
            except (RuntimeError, httpx.HTTPError) as error:
                self.log.error("%s: %r", self.row["clip_id"], error)
                yield TaskFailedEvent()
                return
        yield TaskSuccessEvent()
