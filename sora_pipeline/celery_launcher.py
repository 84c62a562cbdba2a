"""Dagster's launcher of runs as Celery tasks, which tells Dagster what happens to them: who ended one, and whose worker is gone.

Named by ``dagster.yaml`` (``deploy/celery``) where runs are executed by Celery workers; needs the extra ``celery``.
"""

import time
from typing import Any, cast

import dagster as dg
from dagster_celery.launcher import CeleryRunLauncher as DagstersCeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

ASK_EVERY_S = 20.0
"""How often workers are asked what they are at."""
ANSWER_S = 5.0
"""How long they may take to answer."""


class CeleryRunLauncher(DagstersCeleryRunLauncher):
    """Runs as tasks of Celery.

    What Dagster's own one lacks: a run that a person terminates is marked as that first, since its worker would else report
    a failure, after which it would be requested again; and a run whose worker died with all its processes ends, since
    Celery calls its task started for ever.

    Args:
        unseen_after_seconds: After how long a run is given up whose task no worker knows.
        config: Of Dagster's own launcher.
    """

    def __init__(self, unseen_after_seconds: float, **config: Any) -> None:
        super().__init__(**config)
        self._tasks = _TasksAtWork(self.celery, unseen_after_seconds)

    @classmethod
    def config_type(cls) -> Any:
        """What ``dagster.yaml`` may say."""
        unseen = dg.Field(
            float, default_value=180.0, description="Until a run is given up that no worker knows."
        )
        return {**cast(dict[str, Any], super().config_type()), "unseen_after_seconds": unseen}

    def terminate(self, run_id: str) -> bool:
        """End a run on its worker, where it hears the answers to submits that are on their way."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: dg.DagsterRun) -> Any:
        """What is known of the process of a run."""
        health = super().check_run_worker_health(run)
        running, failed = type(health.status).RUNNING, type(health.status).FAILED
        if health.status is running and not self._tasks.lives(run.tags[DAGSTER_CELERY_TASK_ID_TAG]):
            return health._replace(status=failed, msg="no Celery worker knows of its task any more")
        return health


class _TasksAtWork:
    """Which tasks the workers said they are at, and when."""

    def __init__(self, celery: Any, unseen_s: float) -> None:
        self._celery = celery
        self._unseen_s = unseen_s
        self._asked_at = float("-inf")
        self._seen: dict[str, float] = {}

    def lives(self, task_id: str) -> bool:
        now = time.monotonic()
        if now - self._asked_at >= min(ASK_EVERY_S, self._unseen_s / 3):
            self._ask()
        return time.monotonic() - self._seen.setdefault(task_id, now) < self._unseen_s

    def _ask(self) -> None:
        try:
            answers = self._celery.control.inspect(timeout=ANSWER_S).active() or {}
        except (OperationalError, OSError):  # without a broker nothing is known
            known = list(self._seen)
        else:
            known = [task["id"] for tasks in answers.values() for task in tasks]
        self._asked_at = time.monotonic()
        self._seen |= dict.fromkeys(known, self._asked_at)
