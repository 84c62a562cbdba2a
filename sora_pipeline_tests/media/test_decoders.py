import asyncio
import threading

import pytest

from sora_pipeline.media.decoders import in_decoder, processors

pytestmark = pytest.mark.anyio


async def test_decoding_keeps_no_thread_from_anything_else():
    ended, begun = threading.Event(), threading.Semaphore(0)

    def decode() -> bool:
        begun.release()
        return ended.wait(60)

    decoding = [asyncio.create_task(in_decoder(decode)) for _ in range(100)]
    try:
        for _ in range(processors()):
            assert await asyncio.to_thread(begun.acquire, timeout=30)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "a heartbeat"), 30) == "a heartbeat"
        assert not begun.acquire(blocking=False), "more at a time than there are processors"
    finally:
        ended.set()
    assert await asyncio.gather(*decoding) == [True] * 100


async def test_what_decoding_returns_or_raises_comes_back():
    assert await in_decoder(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_decoder(divmod, 7, 0)
