"""The DAG of the contender on Airflow: a task a clip, each begun and ended by the triggerer."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.triggers.base import StartTriggerArgs

from benchmarks.provider_client import Row, read_rows


class Clip(BaseOperator):
    """One video; the triggerer does all of it, so that no worker process is started for it."""

    start_from_trigger = True

    def __init__(self, *, row: Row, **options: Any) -> None:
        super().__init__(task_id=row["clip_id"], **options)
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="benchmarks.peers.airflow_trigger.ClipTrigger",
            trigger_kwargs={"row": row},
            next_method="execute",
            next_kwargs=None,
            timeout=None,
        )

    def execute(self, context: Any) -> None:
        """Never called: the trigger ends the task."""
        raise RuntimeError("the trigger was to end this task")


with DAG("clips", schedule="@once", start_date=datetime(2025, 1, 1), is_paused_upon_creation=False) as dag:
    for each in read_rows(Path(os.environ["BENCH_MANIFEST"])):
        Clip(row=each)
