"""Downloads: where the key goes and where it does not, and which addresses are never connected to."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from sora_pipeline.provider.addresses import is_private_literal, is_public
from sora_pipeline.provider.errors import ErrorKind, RejectedError, TransientError
from sora_pipeline.provider.http import Http
from sora_pipeline_tests.provider.raw_server import RawServer, answer
from sora_pipeline_tests.provider.test_http import KEY, http_to

pytestmark = pytest.mark.anyio


PUBLIC_HOME = "http://8.8.8.8"  # a provider that is not at a private address; never connected to


async def read_output(
    http: Http,
    url: str,
    headers: dict[str, str] | None = None,
    is_api_call: Callable[[str], bool] = lambda _: False,
) -> tuple[int, bytes]:
    async with http.open_output(url, headers=headers or {}, is_api_call=is_api_call) as response:
        return response.status_code, await response.aread()


def is_content(url: str) -> bool:
    return url.endswith("/content")


# --- the key -----------------------------------------------------------------------------------------------------------


async def test_outputs_never_get_the_key_but_calls_of_the_api_do() -> None:
    async with (
        RawServer([answer(200, b"mp4")]) as cdn,
        RawServer([answer(200, b"mp4")]) as server,
        http_to(server.url) as http,
    ):
        range_and_key = {"Range": "bytes=0-", "Authorization": "Bearer stolen"}
        assert await read_output(http, f"{cdn.url}/v.mp4", range_and_key) == (200, b"mp4")
        await read_output(http, f"{server.url}/outputs/v.mp4", range_and_key)
        await read_output(http, f"{server.url}/v1/videos/1/content", is_api_call=is_content)
        await read_output(http, f"{cdn.url}/v1/videos/1/content", is_api_call=is_content)
    assert ["authorization" in request.headers for request in cdn.received] == [False, False]
    assert cdn.received[0].headers["range"] == "bytes=0-"
    assert cdn.received[0].headers["accept-encoding"] == "identity"
    assert "authorization" not in server.received[0].headers
    assert server.received[1].headers["authorization"] == f"Bearer {KEY}"


async def test_redirects_never_carry_the_key_away_nor_bring_it_back() -> None:
    async with (
        RawServer([answer(200, b"mp4")]) as server,
        RawServer([answer(302, {}, headers={"Location": f"{server.url}/back/content"})]) as cdn,
        http_to(server.url) as http,
    ):
        server.behaviours = [answer(302, {}, headers={"Location": f"{cdn.url}/away"}), answer(200, b"mp4")]
        url = f"{server.url}/content"
        assert await read_output(http, url, is_api_call=is_content) == (200, b"mp4")
    assert "authorization" not in cdn.received[0].headers
    assert "authorization" in server.received[0].headers
    assert "authorization" not in server.received[1].headers


async def test_redirect_from_the_api_to_a_file_of_its_own_leaves_the_key_behind() -> None:
    behaviours = [answer(302, {}, headers={"Location": "/files/v.mp4"}), answer(200, b"mp4")]
    async with RawServer(behaviours) as server, http_to(server.url) as http:
        await read_output(http, f"{server.url}/v1/videos/1/content", is_api_call=is_content)
    assert ["authorization" in request.headers for request in server.received] == [True, False]


async def test_relative_redirect_is_resolved_and_endless_ones_end() -> None:
    async with RawServer([answer(302, {}, headers={"Location": "b"})]) as server, http_to(server.url) as http:
        with pytest.raises(TransientError, match="more than 5"):
            await read_output(http, f"{server.url}/x/a")
    assert [request.path for request in server.received] == ["/x/a"] + ["/x/b"] * 5


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://x/y", "http://"])
async def test_redirect_to_something_else_than_http_is_refused(target: str) -> None:
    async with (
        RawServer([answer(302, {}, headers={"Location": target})]) as server,
        http_to(server.url) as http,
    ):
        with pytest.raises(TransientError):
            await read_output(http, f"{server.url}/a")


async def test_signed_url_arrives_as_it_was_made() -> None:
    signed = "/ai/a%3Ab%2Fc.mp4?X-Credential=AK%2F2026%2Fs3&sig=a%2Bb%2Fc%3D%3d&empty=&q=%7E~+%20"
    async with RawServer([answer(200, b"mp4")]) as server, http_to(server.url) as http:
        await read_output(http, server.url + signed)
    assert server.received[0].path == signed


async def test_output_that_breaks_off_is_transient() -> None:
    async with (
        RawServer([answer(200, b"half", content_length=1000)]) as server,
        http_to(server.url) as http,
    ):
        with pytest.raises(TransientError):
            await read_output(http, f"{server.url}/v.mp4")


async def test_callers_own_error_passes_through_an_open_output() -> None:
    async with RawServer([answer(200, b"mp4")]) as server, http_to(server.url) as http:
        with pytest.raises(OSError, match="disk full"):
            async with http.open_output(f"{server.url}/v.mp4"):
                raise OSError("disk full")


# --- addresses that are not public -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1", "2001:db8::1", "localhost", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_addresses_that_are_public(address: str) -> None:
    assert is_public(address)
    assert not is_private_literal(address)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.1", "2130706433", "0x7f.0.0.1", "017700000001", "[::1]"],
)
def test_hosts_that_are_written_to_be_private(host: str) -> None:
    assert is_private_literal(host)


@pytest.mark.parametrize("host", ["oss.gptproto.com", "1.example.com", "localhost.example.com"])
def test_hosts_that_only_their_address_can_tell(host: str) -> None:
    assert not is_private_literal(host)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "127.1", "2130706433"],
)
async def test_output_at_a_private_address_is_refused_with_the_setting_named(host: str) -> None:
    async with http_to(PUBLIC_HOME) as http:
        with pytest.raises(RejectedError, match="not an address in the public internet") as caught:
            await read_output(http, f"http://{host}:9/v.mp4")
    assert caught.value.kind is ErrorKind.PRIVATE_ADDRESS
    assert host.strip("[]") in caught.value.message


async def test_output_at_a_private_address_is_read_where_the_setting_or_the_provider_is_there() -> None:
    async with RawServer([answer(200, b"mp4")]) as cdn:
        async with http_to("http://127.0.0.1:9") as http:
            assert await read_output(http, f"{cdn.url}/v.mp4") == (200, b"mp4")
        async with http_to("http://localhost:9") as http:
            assert await read_output(http, f"{cdn.url}/v.mp4") == (200, b"mp4")
        async with Http(PUBLIC_HOME, KEY, allow_private_outputs=True) as http:
            assert await read_output(http, f"{cdn.url}/v.mp4") == (200, b"mp4")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Addresses by name, one list for each time that the name is resolved; the last repeats."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        if host not in answers:
            return real(host, port, *args, **more)
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (
                families[":" in address],
                socket.SOCK_STREAM,
                6,
                "",
                (address, port or 0, *((0, 0) if ":" in address else ())),
            )
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


async def test_name_that_resolves_to_private_addresses_is_refused(names: dict[str, list[list[str]]]) -> None:
    async with RawServer([answer(200, b"mp4")]) as inside, http_to(PUBLIC_HOME) as http:
        names["cdn.example"] = [["127.0.0.1", "::1"]]
        with pytest.raises(RejectedError, match=r"cdn\.example"):
            await read_output(http, f"http://cdn.example:{inside.port}/v.mp4")
    assert inside.connections == 0


async def test_name_that_is_rebound_after_a_look_at_it_is_refused(names: dict[str, list[list[str]]]) -> None:
    """What decides is the address that is connected to; nobody looks a name up beforehand."""
    async with RawServer([answer(200, b"mp4")]) as inside:
        names["cdn.example"] = [["8.8.8.8"], ["127.0.0.1"]]
        socket.getaddrinfo("cdn.example", inside.port)
        async with http_to(PUBLIC_HOME) as http:
            with pytest.raises(RejectedError):
                await read_output(http, f"http://cdn.example:{inside.port}/v.mp4")
    assert inside.connections == 0


async def test_redirect_into_the_private_network_is_refused(
    names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RawServer([answer(200, b"secret")]) as inside:
        target = {"Location": f"{inside.url}/latest/meta-data"}
        async with RawServer([answer(302, {}, headers=target)]) as cdn, http_to(PUBLIC_HOME) as http:
            names["cdn.example"] = [["8.8.4.4"]]
            connect_to(monkeypatch, "8.8.4.4", cdn.port)
            with pytest.raises(RejectedError, match=r"127\.0\.0\.1"):
                await read_output(http, "http://cdn.example/v.mp4")
    assert (len(cdn.received), inside.connections) == (1, 0)


def connect_to(monkeypatch: pytest.MonkeyPatch, address: str, port: int) -> None:
    """Let a server of ours stand at a public address."""
    import asyncio

    real = asyncio.get_running_loop().sock_connect
    loop = type(asyncio.get_running_loop())

    async def connect(self: Any, sock: socket.socket, place: Any) -> None:
        await real(sock, ("127.0.0.1", port) if place[0] == address else place)

    monkeypatch.setattr(loop, "sock_connect", connect)


async def test_proxy_may_be_private_and_a_private_output_behind_it_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with RawServer([answer(200, b"mp4")]) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with http_to(PUBLIC_HOME) as http:
            assert await read_output(http, "http://cdn.example/v.mp4") == (200, b"mp4")
            with pytest.raises(RejectedError):
                await read_output(http, "http://169.254.169.254/latest")
    assert len(proxy.received) == 1
