import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import stamina

from sora_pipeline.clip import Size
from sora_pipeline.provider import submit_gate
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.errors import AmbiguousSubmitError, BlockedError, ErrorKind, TransientError
from sora_pipeline.provider.protocol import Accepted, SubmitRequest
from sora_pipeline.provider.registry import make_provider
from sora_pipeline.provider.submit_gate import GateClosed, SubmitGate, retry_transient
from sora_pipeline_tests.provider.raw_server import RawServer, answer, close_without_answer

pytestmark = pytest.mark.anyio

REQUEST = SubmitRequest("a cat", "sora-2", 4, Size(720, 1280))
TAKEN = answer(200, {"data": {"id": "abc", "status": "created"}})


class Pause:
    """An account's pause, as a ledger keeps it."""

    def __init__(self) -> None:
        self.until = 0.0

    def left_s(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def pause(self, seconds: float) -> None:
        self.until = max(self.until, time.monotonic() + seconds)


def gate_of(
    turns: Callable[[int], tuple[int, float]] = lambda wanted: (wanted, 0.0),
    max_pause_s: float = 120,
    pause: Pause | None = None,
) -> SubmitGate:
    pause = pause or Pause()
    return SubmitGate(turns=turns, left_s=pause.left_s, pause=pause.pause, max_pause_s=max_pause_s)


@pytest.fixture
def gate() -> SubmitGate:
    return gate_of(max_pause_s=0.3)


@pytest.fixture
def instant_back_off() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


async def submit(
    server: RawServer, gate: SubmitGate, attempts: int = 4, max_wait_s: float = 0.3
) -> tuple[Accepted, list[str]]:
    told: list[str] = []
    async with make_provider(ProviderConfig(name="sandbox", base_url=server.url)) as provider:
        accepted = await retry_transient(
            lambda: provider.submit(REQUEST),
            gate=gate,
            tries=attempts,
            max_wait_s=max_wait_s,
            say=told.append,
        )
    return accepted, told


@pytest.mark.usefixtures("instant_back_off")
async def test_transient_refusals_are_tried_again(gate: SubmitGate) -> None:
    async with RawServer([answer(503, {}), answer(503, {}), TAKEN]) as server:
        accepted, told = await submit(server, gate)
    assert accepted.prediction_id == "abc"
    assert [each.partition(" follows")[0] for each in told] == [
        "not accepted (unavailable), try 2 of 4",
        "not accepted (unavailable), try 3 of 4",
    ]


@pytest.mark.usefixtures("instant_back_off")
async def test_last_refusal_is_raised_and_tries_are_bounded(gate: SubmitGate) -> None:
    async with RawServer([answer(503, {})]) as server:
        with pytest.raises(TransientError):
            await submit(server, gate, attempts=3)
    assert len(server.received) == 3


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (close_without_answer, AmbiguousSubmitError),
        (answer(504, {}), AmbiguousSubmitError),
        (answer(401, {}), BlockedError),
    ],
    ids=["lost answer", "gateway timeout", "bad token"],
)
async def test_nothing_else_is_sent_twice(
    behaviour: object, error: type[Exception], gate: SubmitGate
) -> None:
    async with RawServer([behaviour]) as server:  # type: ignore[list-item]
        with pytest.raises(error):
            await submit(server, gate)
    assert len(server.received) == 1


async def test_retry_after_is_honoured_and_capped() -> None:
    for asked, max_wait, low, high in ((("0.4"), 5.0, 0.4, 1.5), ("86400", 0.3, 0.3, 1.5)):
        gate = gate_of(max_pause_s=max_wait)
        async with RawServer([answer(429, {}, headers={"Retry-After": asked}), TAKEN]) as server:
            began = time.monotonic()
            await submit(server, gate, max_wait_s=max_wait)
            assert low <= time.monotonic() - began < high


async def test_one_clips_429_pauses_all_submits() -> None:
    gate = gate_of()
    await gate.rate_limited(0.4)
    began = time.monotonic()
    await asyncio.gather(*(gate.wait() for _ in range(20)))
    assert time.monotonic() - began >= 0.39


async def test_pause_of_another_run_is_heeded_and_one_of_ours_is_told() -> None:
    pause = Pause()
    ours, theirs = gate_of(pause=pause), gate_of(pause=pause)
    await theirs.rate_limited(0.4)
    began = time.monotonic()
    await ours.wait()
    assert time.monotonic() - began >= 0.39


async def test_clip_that_met_a_429_waits_for_the_pause_and_no_longer() -> None:
    """Not for a back-off of its own on top of it."""
    gate = gate_of()
    async with RawServer([*[answer(429, {}, headers={"Retry-After": "0.2"})] * 3, TAKEN]) as server:
        began = time.monotonic()
        await submit(server, gate, max_wait_s=120)
    assert 0.6 <= time.monotonic() - began < 1.2


async def test_pauses_without_retry_after_grow_until_a_success() -> None:
    pause = Pause()
    gate = gate_of(max_pause_s=10, pause=pause)
    for _ in range(5):  # one storm, not five
        await gate.rate_limited(None)
    assert 1.5 < pause.left_s() <= 2
    pause.until = 0
    await gate.rate_limited(None)
    assert 3.5 < pause.left_s() <= 4
    pause.until = 0
    gate.accepted()
    await gate.rate_limited(None)
    assert 1.5 < pause.left_s() <= 2
    await gate.rate_limited(1e12)
    assert pause.left_s() <= 10


async def test_clips_pass_in_the_order_in_which_they_came_as_turns_come() -> None:
    taken, wanted = iter([(2, 0.0), (0, 0.2), (1, 0.0), (0, 0.1), (0, 0.1), (1, 0.0)]), []

    def turns(number: int) -> tuple[int, float]:
        wanted.append(number)
        return next(taken)

    gate, passed = gate_of(turns), []

    async def go_through(number: int) -> None:
        await gate.wait()
        passed.append(number)

    began = time.monotonic()
    await asyncio.gather(*map(go_through, range(4)))
    assert passed == [0, 1, 2, 3]
    assert wanted == [4, 2, 2, 1, 1, 1], "as many as wait, and no turn is taken for nobody"
    assert time.monotonic() - began >= 0.39


async def test_nobody_passes_with_a_turn_that_was_taken_while_somebody_heard_a_429() -> None:
    pause, taken = Pause(), 0

    def turns(wanted: int) -> tuple[int, float]:
        nonlocal taken
        taken += 1
        if taken == 1:
            pause.pause(0.3)
        return wanted, 0.0

    gate = gate_of(turns, pause=pause)
    began = time.monotonic()
    await asyncio.gather(*(gate.wait() for _ in range(3)))
    assert time.monotonic() - began >= 0.29
    assert taken == 2


async def test_one_who_waits_hears_that_no_turn_can_be_had_and_the_others_get_theirs() -> None:
    ends: Iterator[tuple[int, float] | Exception] = iter([OSError("the disk is gone"), (2, 0.0), (1, 0.0)])

    def turns(_wanted: int) -> tuple[int, float]:
        if isinstance(end := next(ends), Exception):
            raise end
        return end

    gate = gate_of(turns)
    heard = await asyncio.gather(*(gate.wait() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in heard] == [OSError, type(None), type(None)]
    await gate.wait()


async def test_turns_that_could_not_be_used_at_once_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a database that comes back would let those pass at once that a minute is meant for."""
    monkeypatch.setattr(submit_gate, "STALE_S", 0.2)
    taken, slow = [], iter([0.0, 0.4])

    def turns(wanted: int) -> tuple[int, float]:
        taken.append(wanted)
        return wanted, 0.0

    def left_s() -> float:
        time.sleep(next(slow, 0.0))
        return 0.0

    gate = SubmitGate(turns=turns, left_s=left_s, pause=lambda _: None)
    await asyncio.gather(gate.wait(), gate.wait())
    assert taken == [2, 2]


async def test_nobody_takes_a_turn_before_it_may_be_under_way() -> None:
    """Else those who wait for an answer hold turns, and send with them when others have come."""
    taken, answered = 0, asyncio.Event()

    def turns(wanted: int) -> tuple[int, float]:
        nonlocal taken
        taken += wanted
        return wanted, 0.0

    async def send() -> Accepted:
        await answered.wait()
        return Accepted("abc", None, "created", None)

    gate, few = gate_of(turns), asyncio.Semaphore(3)
    sending = [
        asyncio.create_task(retry_transient(send, gate=gate, under_way=lambda: few)) for _ in range(10)
    ]
    async with asyncio.timeout(30):
        while taken < 3:  # noqa: ASYNC110 - a thread's work has no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert taken == 3
        answered.set()
        await asyncio.gather(*sending)
    assert taken == 10


@pytest.mark.usefixtures("instant_back_off")
async def test_callers_own_sender_is_told_in_sentences(gate: SubmitGate) -> None:
    sentences: list[str] = []
    sent = 0

    async def send() -> Accepted:
        nonlocal sent
        sent += 1
        if sent == 1:
            raise TransientError(ErrorKind.CONNECT, "refused")
        return Accepted("abc", None, "created", None)

    await retry_transient(send, gate=gate, say=sentences.append)
    assert sentences == ["not accepted (connect), try 2 of 4 follows: refused"]


async def test_those_who_wait_at_a_gate_are_told_at_once_when_it_closes() -> None:
    gate = gate_of(lambda _: (0, 60.0))
    waiting = [asyncio.create_task(gate.wait()) for _ in range(3)]
    await asyncio.sleep(0.05)
    gate.close()
    async with asyncio.timeout(30):
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in ends] == [GateClosed] * 3
        with pytest.raises(GateClosed):
            await gate.wait()


async def test_waiting_at_a_gate_can_be_cancelled() -> None:
    gate = gate_of(lambda _: (0, 60.0))
    waiting = asyncio.create_task(gate.wait())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_was_cancelled_takes_nobodys_turn() -> None:
    asked, left = threading.Event(), threading.Event()

    def turns(wanted: int) -> tuple[int, float]:
        asked.set()
        left.wait(30)
        return min(wanted, 1), 0.0

    gate = gate_of(turns)
    first, second = (asyncio.create_task(gate.wait()) for _ in range(2))
    assert await asyncio.to_thread(asked.wait, 30)
    first.cancel()
    await asyncio.sleep(0)
    left.set()
    async with asyncio.timeout(30):
        await second
    with pytest.raises(asyncio.CancelledError):
        await first
