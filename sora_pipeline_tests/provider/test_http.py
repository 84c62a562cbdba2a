import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sora_pipeline import __version__
from sora_pipeline.provider.errors import AmbiguousSubmitError, ErrorKind, TransientError
from sora_pipeline.provider.http import Http, RawAnswer
from sora_pipeline.provider.timeouts import Timeouts
from sora_pipeline_tests.provider.raw_server import (
    Behaviour,
    RawServer,
    answer,
    close_without_answer,
    never_answer,
    reset,
    speak_gibberish,
)

pytestmark = pytest.mark.anyio

KEY = "sk-secret-0123456789"
QUICK = Timeouts(connect=0.6, pool=2, submit_read=0.3, submit_total=5, poll_read=0.3, output_read=0.3)


@asynccontextmanager
async def http_to(
    base_url: str, timeouts: Timeouts = QUICK, max_connections: int = 200
) -> AsyncIterator[Http]:
    async with Http(base_url, KEY, timeouts=timeouts, max_connections=max_connections) as http:
        yield http


async def submit(http: Http, base_url: str) -> RawAnswer:
    return await http.submit(f"{base_url}/submit", json={"prompt": "a cat"})


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_submit_carries_key_and_our_name() -> None:
    async with RawServer([answer(200, {"id": 1})]) as server, http_to(server.url) as http:
        raw = await submit(http, server.url)
    assert (raw.status, raw.content) == (200, b'{"id": 1}')
    (request,) = server.received
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["user-agent"] == f"sora-pipeline/{__version__}"
    assert request.json == {"prompt": "a cat"}


@pytest.mark.parametrize("name", ["refused", "unknown host", "not TLS", "dead proxy", "SOCKS proxy"])
async def test_submit_that_never_left_is_transient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "dead proxy":
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    if name == "SOCKS proxy":
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{unused_port()}")
    async with RawServer([close_without_answer]) as server:
        base = {
            "refused": f"http://127.0.0.1:{unused_port()}",
            "unknown host": "http://no-such-host.invalid",
            "not TLS": f"https://127.0.0.1:{server.port}",
            "dead proxy": "http://provider.example",
            "SOCKS proxy": "http://provider.example",
        }[name]
        async with http_to(base) as http:
            with pytest.raises(TransientError) as caught:
                await submit(http, base)
    assert caught.value.kind is ErrorKind.CONNECT
    assert server.received == []


async def test_connect_timeout_is_transient() -> None:
    with socket.socket() as full:
        # A listener that accepts nothing: once its backlog is full, further connects hang.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        base = f"http://127.0.0.1:{full.getsockname()[1]}"
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        await asyncio.sleep(0.1)
        async with http_to(base, Timeouts(connect=0.3, submit_read=5)) as http:
            with pytest.raises(TransientError, match="could not be sent"):
                await submit(http, base)
        for filler in fillers:
            filler.close()


async def test_waiting_too_long_for_a_free_connection_is_transient() -> None:
    timeouts = Timeouts(connect=1, pool=0.3, submit_read=2)
    async with (
        RawServer([never_answer]) as server,
        http_to(server.url, timeouts, max_connections=1) as http,
    ):
        first = asyncio.create_task(submit(http, server.url))
        await asyncio.sleep(0.1)
        with pytest.raises(TransientError):
            await submit(http, server.url)
        first.cancel()
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        close_without_answer,
        reset,
        speak_gibberish,
        never_answer,
        answer(200, {"id": "x"}, content_length=1000),
        answer(500, {"id": "x"}, content_length=1000),
    ],
    ids=["closed", "reset", "gibberish", "silence", "half an answer", "half an error"],
)
async def test_submit_whose_answer_is_lost_is_ambiguous_and_sent_once(behaviour: Behaviour) -> None:
    async with RawServer([behaviour]) as server, http_to(server.url) as http:
        with pytest.raises(AmbiguousSubmitError):
            await submit(http, server.url)
        await asyncio.sleep(0.2)
    assert len(server.received) == 1


async def test_server_that_stops_reading_ends_in_ambiguity() -> None:
    async def sleepy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(10)

    server = await asyncio.start_server(sleepy, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    timeouts = Timeouts(submit_read=60, submit_total=0.5)
    async with http_to(base, timeouts) as http:
        with pytest.raises(AmbiguousSubmitError):
            await http.submit(f"{base}/submit", json={"image": "x" * 30_000_000})
    server.close()


async def test_half_a_refusal_is_still_a_refusal() -> None:
    async with (
        RawServer([answer(400, {"error": "no"}, content_length=1000)]) as server,
        http_to(server.url) as http,
    ):
        raw = await submit(http, server.url)
    assert raw.status == 400


async def test_submits_never_meet_a_stale_connection() -> None:
    """The server closes after each answer although it promised keep-alive: the next submit must not fail for that."""
    async with (
        RawServer([answer(200, {"id": 1}, then_close=True)]) as server,
        http_to(server.url) as http,
    ):
        for _ in range(5):
            await submit(http, server.url)
    assert [request.connection for request in server.received] == [1, 2, 3, 4, 5]


async def test_submit_after_a_poll_does_not_reuse_its_connection() -> None:
    async with (
        RawServer([answer(200, {"id": 1}), close_without_answer]) as server,
        http_to(server.url) as http,
    ):
        await http.get(f"{server.url}/poll")
        with pytest.raises(AmbiguousSubmitError):
            await submit(http, server.url)
        await asyncio.sleep(0.1)
    assert [(request.method, request.connection) for request in server.received] == [("GET", 1), ("POST", 2)]


async def test_library_does_not_resend_a_post_even_on_a_reused_connection() -> None:
    """What aiohttp does with a POST on a dead pooled connection, should submits ever share a pool: nothing."""
    from httpx_aiohttp import HttpxAiohttpClient

    async with (
        RawServer([answer(200, {}), close_without_answer]) as server,
        HttpxAiohttpClient() as client,
    ):
        await client.post(server.url, json={})
        with pytest.raises(Exception, match="disconnected"):
            await client.post(server.url, json={})
        await asyncio.sleep(0.1)
    assert [request.connection for request in server.received] == [1, 1]


async def test_poll_without_answer_is_transient() -> None:
    async with RawServer([close_without_answer]) as server, http_to(server.url) as http:
        with pytest.raises(TransientError) as caught:
            await http.get(f"{server.url}/poll")
    assert caught.value.kind is ErrorKind.CONNECT


async def test_redirected_submit_is_not_followed() -> None:
    async with (
        RawServer([answer(200, {})]) as elsewhere,
        RawServer([answer(307, {}, headers={"Location": f"{elsewhere.url}/submit"})]) as server,
        http_to(server.url) as http,
    ):
        raw = await submit(http, server.url)
        polled = await http.get(f"{server.url}/poll")
    assert (raw.status, polled.status) == (307, 307)
    assert elsewhere.received == []


async def test_gigantic_answer_is_cut() -> None:
    async with RawServer([answer(200, b"x" * 6_000_000)]) as server, http_to(server.url) as http:
        raw = await http.get(f"{server.url}/poll")
    assert len(raw.content) == 4 * 1024 * 1024


async def test_proxy_of_the_environment_is_used_except_for_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer([answer(200, {"id": 1})]) as proxy, RawServer([answer(200, {"id": 2})]) as direct:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with http_to("http://provider.example") as http:
            assert (await submit(http, "http://provider.example")).content == b'{"id": 1}'
            assert (await http.get("http://provider.example/poll")).content == b'{"id": 1}'
            assert (await http.get(f"{direct.url}/poll")).content == b'{"id": 2}'
    assert [request.path for request in proxy.received] == [
        "http://provider.example/submit",
        "http://provider.example/poll",
    ]


async def test_two_hundred_polls_share_one_pool() -> None:
    async with RawServer([answer(200, {})]) as server, http_to(server.url, Timeouts()) as http:
        answers = await asyncio.gather(*(http.get(f"{server.url}/{number}") for number in range(200)))
    assert {raw.status for raw in answers} == {200}


async def test_provider_can_be_entered_again_but_not_twice_at_once() -> None:
    async with RawServer([answer(200, {})]) as server:
        http = Http(server.url, KEY)
        for _ in range(2):
            async with http:
                assert (await http.get(server.url)).status == 200
                with pytest.raises(RuntimeError, match="already open"):
                    await http.__aenter__()
        with pytest.raises(RuntimeError, match="not open"):
            await http.get(server.url)
