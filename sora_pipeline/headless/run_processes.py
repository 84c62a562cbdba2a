"""Processes of a command that execute runs for it (``first_run.py``), each with the code location already loaded."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

END_S = 12.0
"""Seconds that a process has for ending its run; it gives up by itself before."""

_Answers = queue.SimpleQueue[tuple["RunProcess", dict[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class Executed:
    """A run that has ended.

    Attributes:
        request: What was asked for.
        run_id: Of the run.
        failed: Why it failed; None: it did not, or a person terminated it.
    """

    request: "dg.RunRequest"
    run_id: str
    failed: str | None


class RunProcess:
    """A process that loads everything at once, and then executes run requests, one after the other.

    Args:
        log: Where its output goes.
        answers: Where it is heard; None, at last: it has ended.
    """

    def __init__(self, log: Path, answers: _Answers) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sora_pipeline.headless.first_run"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end it in order
            )
        self.requests: dict[str, dg.RunRequest] = {}
        threading.Thread(target=self._hear, args=(answers,), daemon=True).start()

    @property
    def jobs(self) -> set[str | None]:
        """Of the runs under way, and of those still to begin."""
        return {request.job_name for request in self.requests.values()}

    def go_ahead(self) -> None:
        """Let it use the Dagster home; two processes must not make one at once."""
        self._tell({})

    def execute(self, request: "dg.RunRequest") -> None:
        """Have a run request executed, after those before it."""
        run_id = str(uuid.uuid4())
        self.requests[run_id] = request
        self._tell({"run_id": run_id, **order_of(request)})

    def begin_to_end(self) -> None:
        """Interrupt the run under way, and let the process end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """See to it that the process has ended."""
        self.begin_to_end()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it was killed, which is heard
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def _hear(self, answers: _Answers) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answers.put((self, json.loads(line)))
        answers.put((self, None))


class RunProcesses:
    """The processes of a command, at least one while any is left.

    Args:
        log: Where their output goes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._answers: _Answers = queue.SimpleQueue()
        self._processes = [RunProcess(log, self._answers)]

    @property
    def alive(self) -> bool:
        """Whether any process is left: none is started once all were killed."""
        return bool(self._processes)

    def go_ahead(self) -> None:
        """Let the first process use the Dagster home: it is made."""
        for process in self._processes:
            process.go_ahead()

    def under_way(self, job_name: str) -> bool:
        """Whether a run of this job is, or is still to begin."""
        return any(job_name in process.jobs for process in self._processes)

    def execute(self, request: "dg.RunRequest") -> None:
        """Have a run executed: after others of its job, or by a process of its own."""
        self._process_for(request.job_name).execute(request)

    def wait(self, seconds: float) -> Executed | None:
        """The next run that has ended; None where none has within this time."""
        with contextlib.suppress(queue.Empty):
            process, answer = self._answers.get(timeout=seconds)
            if answer is None:
                self._processes.remove(process)
            else:
                run_id = answer["run_id"]
                return Executed(process.requests.pop(run_id), run_id, answer["failed"])
        return None

    def _process_for(self, job_name: str | None) -> RunProcess:
        for process in self._processes:
            if job_name in process.jobs:
                return process
        for process in self._processes:
            if not process.requests:
                return process
        made = RunProcess(self._log, self._answers)
        made.go_ahead()
        self._processes.append(made)
        return made

    @property
    def unanswered(self) -> list[str]:
        """The runs that are under way or still to begin."""
        return [run_id for process in self._processes for run_id in process.requests]

    def close(self) -> None:
        """Interrupt what is under way, and see to it that all processes have ended."""
        for process in self._processes:
            process.begin_to_end()
        for process in self._processes:
            process.end()
        self._processes.clear()


def order_of(request: "dg.RunRequest") -> dict[str, Any]:
    """What is executed for a request: the job, its config and the tags that the daemon would give the run."""
    from sora_pipeline.names import RUN_KEY_TAG

    tags = {**request.tags, RUN_KEY_TAG: request.run_key}
    return {"job_name": request.job_name, "run_config": request.run_config, "tags": tags}


def log_of_first_runs(home: Path) -> Path:
    """Where the first runs of commands print."""
    return home / "logs" / "first_runs.log"
