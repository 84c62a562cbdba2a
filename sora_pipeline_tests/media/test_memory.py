import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sora_pipeline.media.memory import MemoryBudget


def test_threads_together_never_hold_more_than_the_budget():
    budget, lock = MemoryBudget(100), threading.Lock()
    held, most = 0, 0

    def work(number: int) -> None:
        nonlocal held, most
        wanted = random.Random(number).randrange(1, 101)
        with budget.reserve(wanted):
            with lock:
                held += wanted
                most = max(most, held)
            with lock:
                held -= wanted

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(2000)))

    assert held == 0
    assert 0 < most <= 100


def test_who_asks_for_more_than_there_is_gets_all_of_it_alone():
    budget = MemoryBudget(100)
    begun, ended = threading.Event(), threading.Event()

    def small() -> None:
        with budget.reserve(1):
            ended.set()

    with ThreadPoolExecutor(1) as threads:
        with budget.reserve(10**9):
            threads.submit(lambda: (begun.set(), small()))
            assert begun.wait(10)
            assert not ended.is_set()
        assert ended.wait(10)


def test_what_was_reserved_is_given_back_after_an_error():
    budget = MemoryBudget(100)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), budget.reserve(100):
            raise ZeroDivisionError
    with budget.reserve(100):
        pass
