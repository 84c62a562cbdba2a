"""The one Dagster resource of a pipeline: every run over its assets holds it from its start to its end."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import dagster as dg

from sora_pipeline.run_locks import run_lock
from sora_pipeline.settings import dagster_home


class RunLockResource(dg.ConfigurableResource[Any]):
    """Shows that a run's process lives, waits between retries included.

    Attributes:
        folder: Below the Dagster home: a pipeline looks only after runs of its own.
    """

    folder: str

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["RunLockResource"]:
        """Hold the lock while the run goes on."""
        run = context.run
        with run_lock(dagster_home() / self.folder, run.run_id) if run is not None else nullcontext():
            yield self
