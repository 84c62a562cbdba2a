"""Python's search for garbage, left out where very many objects are made and there is none in cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Work without looking for garbage, which takes a quarter of the time where rows become objects by the thousand.

    What nobody needs any more is freed all the same: only what holds itself in a cycle waits.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collect_recent() -> None:
    """Free what was made since the last time and holds itself in a cycle: little work after each stretch of many."""
    gc.collect(0)


@contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage, nor ever again through what was imported: a fifth of the time."""
    with without_collection():
        try:
            yield
        finally:
            gc.freeze()
