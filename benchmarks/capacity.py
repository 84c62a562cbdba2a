"""``python -m benchmarks.capacity``: what one daemon, one worker and one PostgreSQL carry, with 1, 2 and 4 Celery workers.

Each number of workers gets a fresh deployment of ``deploy/celery`` on this machine: a PostgreSQL and a RabbitMQ of its own, a code
server, a daemon, workers, and the sandbox. Renders are short and slots are many, so that the machinery is what takes the time.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks.celery_machines import WORKER, Databases, Machines, databases, machines
from benchmarks.contenders import HERE
from benchmarks.reporting import (
    add_file_options,
    console,
    end_in_order_when_told,
    folder_of,
    machine_sentence,
    print_table,
    run_as_program,
    settings_of,
    write_json,
)
from benchmarks.trial import write_manifest
from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings

LOOK_S = 0.5
BATCHES = 4
"""Runs that fill all slots together: as many as the most workers."""
NAME = "manifest"


class CapacityError(Exception):
    """Raised where a production did not come to its end; the text says how far it was."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done with each number of workers."""

    clips: int
    render_s: float
    slots: int
    timeout_s: float
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a deployment carried.

    Attributes:
        workers: How many there were.
        clips_a_minute: From the first submit to the last video stored.
        submits_a_second: From the first submit to the last.
        worker_cpu_s: CPU seconds a clip, of all workers and their runs.
        daemon_cores: Cores that daemon and code server kept busy.
        postgresql_cores: Cores that the database server kept busy.
        ledger_transactions_a_second: Committed in the ledger's database: those that write.
        storage_transactions_a_second: Committed in that of Dagster's storage.
    """

    workers: int
    clips_a_minute: float
    submits_a_second: float
    worker_cpu_s: float
    daemon_cores: float
    postgresql_cores: float
    ledger_transactions_a_second: float
    storage_transactions_a_second: float


@dataclass(frozen=True, slots=True)
class _Used:
    """What was used up to a moment."""

    at: float
    worker_s: float
    daemon_s: float
    postgresql_s: float
    ledger: int
    storage: int


def carried(folder: Path, workers: int, task: Task, show: Callable[[str], None]) -> Capacity:
    """Deploy, produce, and measure.

    Raises:
        CapacityError: not all clips were delivered, or more was billed than they.
    """
    folder.mkdir(parents=True)
    provider = SandboxSettings(
        state_dir=folder / "provider",
        render_s=task.render_s,
        max_running=task.slots,
        fps=6,
        shared_renders=True,
    )
    settings = {
        "SORA_MAX_IN_FLIGHT": str(task.slots),
        # So small that each worker gets some: a further run is requested while less is left than half the slots. The
        # same for all numbers of workers: each run costs seconds to start.
        "SORA_BATCH_SIZE": str(max(1, task.slots // BATCHES)),
        "SORA_SUBMITS_PER_MINUTE": "6000",
        **task.settings,
    }
    with (
        running_sandbox(provider) as endpoint,
        databases() as database,
        machines(folder, workers, database, endpoint, settings) as started,
    ):
        return _produced(folder, workers, task, database, started, show)


def _produced(
    folder: Path,
    workers: int,
    task: Task,
    database: Databases,
    started: Machines,
    show: Callable[[str], None],
) -> Capacity:
    manifest = write_manifest(folder, task.clips, NAME)
    ledger = Ledger(database.ledger)
    _await_daemon(ledger, started, task.timeout_s)
    give_up = time.monotonic() + task.timeout_s
    before: _Used | None = None
    after: _Used | None = None
    made: Sequence[Attempt] = ()
    with _run(manifest, started, folder / "run.log") as process:
        try:
            while process.poll() is None:
                started.sample()
                after = _used(started, database)
                made = ledger.attempts.of_production(NAME) if ledger.productions.find(NAME) else []
                if before is None and any(attempt.submission.submitted_at for attempt in made):
                    before = after
                delivered = sum(attempt.state is AttemptState.COLLECTED for attempt in made)
                show(f"{workers} workers: {delivered} of {task.clips} clips")
                if delivered == task.clips:
                    break  # what is published afterwards has a benchmark of its own
                if time.monotonic() > give_up:
                    raise CapacityError(f"{delivered} of {task.clips} clips after {task.timeout_s:g} s")
                time.sleep(LOOK_S)
        finally:
            process.kill()  # of no effect on one that has ended
    ledger.close()
    submitted = [each.submission.submitted_at for each in made if each.submission.submitted_at]
    stored = [each.result.stored_at for each in made if each.result.stored_at]
    if before is None or after is None or len(stored) != task.clips or len(submitted) != task.clips:
        tail = (folder / "run.log").read_text("utf-8", "replace")[-2000:]
        raise CapacityError(f"{len(stored)} of {task.clips} clips, {len(submitted)} submits\n{tail}")
    return _between(
        before,
        after,
        workers=workers,
        clips=task.clips,
        making_s=(max(stored) - min(submitted)).total_seconds(),
        submitting_s=(max(submitted) - min(submitted)).total_seconds(),
    )


def _await_daemon(ledger: Ledger, started: Machines, timeout_s: float) -> None:
    """Wait for the daemon to show itself: the command would else start one of its own."""
    give_up = time.monotonic() + timeout_s
    while ledger.pipelines.seen("") is None:
        started.sample()
        if time.monotonic() > give_up:
            raise CapacityError(f"the daemon did not come up within {timeout_s:g} s")
        time.sleep(LOOK_S)


def _run(manifest: Path, started: Machines, log: Path) -> "subprocess.Popen[bytes]":
    """A person's command, which leaves the work to the daemon."""
    command = [str(Path(sys.executable).with_name("sora-pipeline")), "run", str(manifest)]
    with log.open("wb") as said:
        return subprocess.Popen(command, env=dict(started.environment), cwd=HERE, stdout=said, stderr=said)


def _used(started: Machines, database: Databases) -> _Used:
    return _Used(
        time.monotonic(),
        started.cpu_s(WORKER),
        started.cpu_s("code") + started.cpu_s("daemon"),
        database.cpu_s(),
        database.committed(database.ledger),
        database.committed(database.storage),
    )


def _between(
    before: _Used, after: _Used, *, workers: int, clips: int, making_s: float, submitting_s: float
) -> Capacity:
    seconds = after.at - before.at
    return Capacity(
        workers=workers,
        clips_a_minute=60 * clips / making_s,
        submits_a_second=(clips - 1) / submitting_s if submitting_s else float(clips),
        worker_cpu_s=(after.worker_s - before.worker_s) / clips,
        daemon_cores=(after.daemon_s - before.daemon_s) / seconds,
        postgresql_cores=(after.postgresql_s - before.postgresql_s) / seconds,
        ledger_transactions_a_second=(after.ledger - before.ledger) / seconds,
        storage_transactions_a_second=(after.storage - before.storage) / seconds,
    )


COLUMNS = {
    "workers": "workers",
    "clips_a_minute": "clips a minute",
    "submits_a_second": "submits a second",
    "worker_cpu_s": "CPU s a clip, workers",
    "daemon_cores": "cores, daemon",
    "postgresql_cores": "cores, PostgreSQL",
    "ledger_transactions_a_second": "ledger transactions a second",
    "storage_transactions_a_second": "Dagster's a second",
}


def table(found: Sequence[Capacity]) -> Table:
    """The figures, a line for each number of workers."""
    drawn = Table(box=box.MARKDOWN)
    for name in COLUMNS.values():
        drawn.add_column(name, justify="right")
    for each in found:
        values = asdict(each)
        drawn.add_row(*(f"{values[name]:.3g}" for name in COLUMNS))
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each number of workers; returns 1 where a production did not come to its end."""
    options = _options().parse_args(arguments)
    end_in_order_when_told()
    task = Task(options.clips, options.render, options.slots, options.timeout, settings_of(options))
    found: list[Capacity] = []
    try:
        with folder_of(options) as folder, console.status("") as status:
            found.extend(
                carried(folder / str(workers), workers, task, status.update) for workers in options.workers
            )
    except CapacityError as problem:
        console.print(f"error: {problem}", highlight=False)
        return 1
    finally:
        if found:
            print_table(table(found))
            print(f"{task.clips} clips of {task.render_s:g} s, {task.slots} slots. {machine_sentence()}.")
            write_json(options.json, {"task": asdict(task), "capacity": [asdict(each) for each in found]})
    return 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--clips", type=int, default=600, metavar="N", help="clips of each production (600)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="(1 2 4)")
    parser.add_argument("--render", type=float, default=10.0, metavar="SECONDS", help="of each clip (10)")
    parser.add_argument(
        "--slots", type=int, default=200, metavar="N", help="clips that may render at once (200)"
    )
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="SECONDS", help="of each (3600)")
    add_file_options(parser)
    return parser


if __name__ == "__main__":
    run_as_program(main)
