"""The Dagster instance that sensors work with, opened once a process.

A context opens one of its own in each tick: the storages' migrations are looked through anew, which takes longer than most
ticks themselves.
"""

import threading
from typing import Any

import dagster as dg

_lock = threading.Lock()
_opened: tuple[Any, dg.DagsterInstance] | None = None


def instance_of(context: dg.SensorEvaluationContext) -> dg.DagsterInstance:
    """The instance whose daemon asked for this tick."""
    global _opened
    reference = context.instance_ref
    if reference is None:  # the context was made with an instance, as tests do
        return context.instance
    with _lock:  # ticks of several sensors run side by side
        if _opened is None or _opened[0] != reference:
            _opened = reference, dg.DagsterInstance.from_ref(reference)
        return _opened[1]
