"""Executes runs of the built-in code location in this process, as a run worker would."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from sora_pipeline.automation.notifications import why_failed

TERMINATED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)
"""Of runs that a person has terminated."""
_INTERRUPTS = ("KeyboardInterrupt", "DagsterExecutionInterruptedError")


class Interrupted(KeyboardInterrupt):
    """Raised where a run was interrupted; Dagster has noted it as failed, or as terminated by a person."""


def execute(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    *,
    run_id: str,
    job_name: str,
    run_config: Mapping[str, Any],
    tags: Mapping[str, str],
) -> str | None:
    """Execute a run; why it failed, or None.

    Raises:
        Interrupted: by a signal, to this process or through Dagster.
    """
    try:
        with _polite_kill_kept():
            result = defs.resolve_job_def(job_name).execute_in_process(
                run_id=run_id, run_config=run_config, tags=tags, instance=instance, raise_on_error=False
            )
    except KeyboardInterrupt:  # before its first step, or after its last one
        raise Interrupted from None
    if result.success:
        return None
    ends = result.filter_events(lambda event: event.is_run_failure)
    errors = [event.job_failure_data.error for event in ends]
    if result.dagster_run.status in TERMINATED or any(e and e.cls_name in _INTERRUPTS for e in errors):
        raise Interrupted
    failed_steps = result.filter_events(lambda event: event.is_step_failure)
    return why_failed(failed_steps, " ".join(event.message or "" for event in ends))


@contextlib.contextmanager
def _polite_kill_kept() -> Iterator[None]:
    """Dagster leaves SIGTERM as SIGINT is, and a shell that puts a command into the background has it ignore SIGINT."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def told_to(log: Path) -> Iterator[None]:
    """Let what a run prints and logs go to a file: here it would tear the progress display."""
    disabled = logging.root.manager.disable
    with (
        log.open("a") as out,
        log.open("a") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        logging.disable(logging.NOTSET)  # Dagster's events are log records, too
        try:
            yield
        finally:
            logging.disable(disabled)
