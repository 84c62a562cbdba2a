"""A process that executes runs for a command, one after the other, and has the code location loaded before they come.

Orders come on its standard input, answers go to its standard output, one JSON object a line. When its input closes,
however the command has ended, the run under way is interrupted and the process ends; where none is, it ends without a
trace. Started as ``python -m sora_pipeline.headless.first_run``.
"""

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from sora_pipeline.garbage import importing

if TYPE_CHECKING:
    import dagster as dg

GRACE_S = 10.0
"""Seconds that an interrupted run has for its last words."""
LOOK_S = 2.0
"""How often it is looked whether a person terminated the run."""
# What the first run needs and loads only when it is there: better while there is nothing else to do.
_NEEDED_SOON = ("sora_pipeline.headless.execution", "httpx_aiohttp", "PIL.Image")

Order = dict[str, Any]


class _Worker:
    """Executes what it is told to, until there is nobody left who tells."""

    def __init__(self, answers: IO[str]) -> None:
        self._answers = answers
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._run_id: str | None = None
        self._left = False
        threading.Thread(target=self._take_orders, daemon=True).start()

    def work(self) -> int:
        """Load everything, then execute orders."""
        defs = _load()
        import dagster as dg

        self._orders.get()  # the word that the home is made: two processes must not make it at once
        with dg.DagsterInstance.get() as instance:
            threading.Thread(target=self._heed_terminations, args=(instance,), daemon=True).start()
            while not self._left:
                with contextlib.suppress(KeyboardInterrupt):  # one that came too late for the run it was for
                    self._execute(self._orders.get(), defs, instance)
        return 0

    def _execute(self, order: Order, defs: "dg.Definitions", instance: "dg.DagsterInstance") -> None:
        from sora_pipeline.headless.execution import Interrupted, execute
        from sora_pipeline.names import PipelineNames
        from sora_pipeline.run_locks import run_lock
        from sora_pipeline.settings import dagster_home

        locks = dagster_home() / PipelineNames().run_lock_folder
        failed = None
        self._run_id = order["run_id"]
        # From before Dagster knows of it: one that is killed before it starts would count as about to, for minutes.
        with contextlib.suppress(Interrupted), run_lock(locks, order["run_id"]):
            failed = execute(defs, instance, **order)
        self._run_id = None
        self._say({"run_id": order["run_id"], "failed": failed})

    def _say(self, answer: dict[str, Any]) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody is left to hear it
            self._answers.write(json.dumps(answer) + "\n")
            self._answers.flush()

    def _take_orders(self) -> None:
        with open(0, "rb", closefd=False) as lines:
            for line in lines:
                self._orders.put(json.loads(line))
        self._left = True
        if self._run_id is None:
            os._exit(0)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    def _heed_terminations(self, instance: "dg.DagsterInstance") -> None:
        """Interrupt a run that a person terminates: Dagster can reach only processes that a code server has started."""
        from sora_pipeline.headless.execution import TERMINATED

        heeded: set[str] = set()
        while True:
            time.sleep(LOOK_S)
            run_id = self._run_id
            if run_id is None or run_id in heeded:
                continue
            run = instance.get_run_by_id(run_id)
            if run is not None and run.status in TERMINATED:
                heeded.add(run_id)
                os.kill(os.getpid(), signal.SIGINT)


def _load() -> "dg.Definitions":
    """Load the code location, and what its runs will need."""
    with importing():
        import dagster as dg

        from sora_pipeline.definitions import defs

        # As good as the home's own for loading what that needs.
        dg.DagsterInstance.ephemeral().dispose()
        for module in _NEEDED_SOON:
            importlib.import_module(module)
    return defs


def main() -> int:
    """Work until the command ends."""
    # A shell that puts the command into the background has SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what runs print belongs into the log
    return _Worker(answers).work()


if __name__ == "__main__":
    sys.exit(main())
