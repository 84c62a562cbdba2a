"""The one place that speaks HTTP: timeouts, the key and where it may go.

Knows nothing of models, JSON or what an answer means.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import aiohttp
import httpx

from sora_pipeline import __version__
from sora_pipeline.provider.addresses import (
    PrivateAddressError,
    is_private_address_error,
    is_private_literal,
    leads_to_private,
    public_only,
)
from sora_pipeline.provider.connections import Connections
from sora_pipeline.provider.errors import ErrorKind, RejectedError, TransientError
from sora_pipeline.provider.origins import absolute, same_origin
from sora_pipeline.provider.retry_after import parse_retry_after
from sora_pipeline.provider.timeouts import Timeouts
from sora_pipeline.provider.transport_errors import read_lost, submit_lost

USER_AGENT = f"sora-pipeline/{__version__}"
MAX_REDIRECTS = 5
FilePart = tuple[str, bytes, str]
"""File name, content, media type."""
# An answer is a few hundred bytes; what is longer is no answer and must not fill the memory.
MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as bytes.

    Attributes:
        status: HTTP status.
        content: The body, or as much of it as came.
        retry_after_s: What ``Retry-After`` asks for.
    """

    status: int
    content: bytes
    retry_after_s: float | None


class _KeyForOneOrigin(httpx.Auth):
    """Adds the key to requests that go to the configured origin, and to no others."""

    def __init__(self, key: str, base_url: str) -> None:
        self._key = key
        self._base_url = base_url

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if self._key and same_origin(str(request.url), self._base_url):
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


class Http:
    """All HTTP of one provider. Use as an async context manager; may be entered again after it was left."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        max_connections: int = 200,
        timeouts: Timeouts | None = None,
        allow_private_outputs: bool = False,
    ) -> None:
        self._base_url = base_url
        self._key = key
        self._auth = _KeyForOneOrigin(key, base_url)
        self._limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=15.0)
        self._timeouts = timeouts or Timeouts()
        self._submits: httpx.AsyncClient | None = None
        self._reads: httpx.AsyncClient | None = None
        self._outputs: httpx.AsyncClient | None = None
        # None: not known yet whether the provider itself is at a private address.
        self._private_allowed: bool | None = True if allow_private_outputs else None

    async def __aenter__(self) -> "Http":
        if self._submits is not None:
            raise RuntimeError("this provider is already open")
        tls = _tls()
        common: dict[str, Any] = {"headers": {"User-Agent": USER_AGENT}, "follow_redirects": False}
        # A connection of its own for each submit: one that meets a pooled connection which the server has closed meanwhile
        # fails like a lost answer, and would be parked as possibly billed although nobody read it.
        fresh = Connections(self._limits, tls, reuse=False)
        self._submits = httpx.AsyncClient(transport=fresh, **common)
        self._reads = httpx.AsyncClient(transport=Connections(self._limits, tls, reuse=True), **common)
        public = Connections(self._limits, tls, reuse=True, socket_factory=public_only)
        self._outputs = httpx.AsyncClient(transport=public, **common)
        return self

    async def __aexit__(self, *exc: object) -> None:
        clients = (self._submits, self._reads, self._outputs)
        self._submits = self._reads = self._outputs = None
        for client in clients:
            if client is not None:
                await client.aclose()

    async def submit(
        self,
        url: str,
        *,
        json: Any = None,
        fields: Mapping[str, str] | None = None,
        files: Mapping[str, FilePart] | None = None,
    ) -> RawAnswer:
        """POST once, as JSON or as a multipart form, and never again.

        Raises:
            RejectedError: the request cannot be written down.
            TransientError: nothing was sent.
            AmbiguousSubmitError: something was sent, and no answer came.
        """
        client = _opened(self._submits)
        timeout = _timeout(self._timeouts, self._timeouts.submit_read)
        try:
            # Parts without a file name are plain fields; given apart, httpx would urlencode a form without files.
            parts: dict[str, Any] = {name: (None, value.encode()) for name, value in (fields or {}).items()}
            parts.update(files or {})
            request = client.build_request("POST", url, json=json, files=parts or None, timeout=timeout)
            await request.aread()
        except ValueError as error:  # a lone surrogate in the prompt, for example
            raise RejectedError(
                ErrorKind.INVALID_REQUEST, f"the request cannot be written: {error}"
            ) from error
        try:
            async with asyncio.timeout(self._timeouts.submit_total):
                response = await client.send(request, auth=self._auth, stream=True)
                return await _answer(response)
        except Exception as error:
            # Whatever happens from here on happened to money: an unforeseen exception is a lost answer, too.
            raise submit_lost(error, secret=self._key) from error

    async def get(self, url: str) -> RawAnswer:
        """GET an API answer, with the key.

        Raises:
            TransientError: no answer came.
        """
        client = _opened(self._reads)
        timeout = _timeout(self._timeouts, self._timeouts.poll_read)
        try:
            request = client.build_request("GET", url, timeout=timeout)
            # aiohttp bounds the silence between two bytes; a poll must end even where bytes trickle.
            async with asyncio.timeout(self._timeouts.pool + 2 * self._timeouts.poll_read):
                response = await client.send(request, auth=self._auth, stream=True)
                return await _answer(response)
        except Exception as error:
            raise read_lost(error, secret=self._key) from error

    @contextlib.asynccontextmanager
    async def open_output(
        self,
        url: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        is_api_call: Callable[[str], bool] = lambda _: False,
    ) -> AsyncIterator[httpx.Response]:
        """Stream an output; see ``Provider.open_output``.

        Args:
            url: Where it is.
            headers: More headers; a key among them is not sent.
            is_api_call: Whether a URL is a call of the API, which needs the key. Other outputs never get it, not even on
                the API's own origin: they are links that anybody may follow, and servers write down what they are sent.
        """
        response = await self._following_redirects(url, headers, is_api_call)
        try:
            yield response
        except (httpx.HTTPError, aiohttp.ClientError) as error:
            raise read_lost(error, secret=self._key) from error
        finally:
            with contextlib.suppress(httpx.HTTPError, aiohttp.ClientError):
                await response.aclose()

    async def _following_redirects(
        self, url: str, headers: Mapping[str, str], is_api_call: Callable[[str], bool]
    ) -> httpx.Response:
        # httpx would follow by itself, but keeps Authorization when the same host goes from http to https: another
        # origin. So each hop is a request of its own, and a chain that has left the origin never gets the key back.
        ours = True
        for _ in range(MAX_REDIRECTS + 1):
            ours = ours and same_origin(url, self._base_url) and is_api_call(url)
            response = await self._get_output(url, headers, with_key=ours)
            if not response.has_redirect_location:
                return response
            target = absolute(str(response.url), response.headers["Location"])
            await response.aclose()
            if target is None:
                raise TransientError(
                    ErrorKind.UNAVAILABLE, "the output redirects to something that is no http(s) URL"
                )
            url = target
        raise TransientError(ErrorKind.UNAVAILABLE, f"the output redirects more than {MAX_REDIRECTS} times")

    async def _get_output(self, url: str, headers: Mapping[str, str], *, with_key: bool) -> httpx.Response:
        private_allowed = await self._may_be_private()
        client = _opened(self._reads if private_allowed else self._outputs)
        timeout = _timeout(self._timeouts, self._timeouts.output_read)
        # Bytes are stored as the provider made them: no transfer compression, and Content-Length is the file's.
        sent = httpx.Headers({"Accept-Encoding": "identity"})
        sent.update({name: value for name, value in headers.items() if name.lower() != "authorization"})
        try:
            request = client.build_request("GET", url, headers=sent, timeout=timeout)
            if not private_allowed and is_private_literal(request.url.host):
                raise PrivateAddressError
            return await client.send(request, auth=self._auth if with_key else None, stream=True)
        except Exception as error:
            if is_private_address_error(error):
                raise _private_output(url) from error
            raise read_lost(error, secret=self._key) from error

    async def _may_be_private(self) -> bool:
        """Whether outputs may be at addresses that are not public: where a setting says so, or the provider itself is."""
        if self._private_allowed is None:
            self._private_allowed = await leads_to_private(httpx.URL(self._base_url).host)
        return self._private_allowed


def _private_output(url: str) -> RejectedError:
    return RejectedError(
        ErrorKind.PRIVATE_ADDRESS,
        f"the output is at {httpx.URL(url).host}, which is not an address in the public internet, and was not requested",
    )


@cache
def _tls() -> ssl.SSLContext:
    """One for the process: loading the certificates takes 50 ms."""
    return httpx.create_ssl_context()


async def _answer(response: httpx.Response) -> RawAnswer:
    """Read the body. What breaks half-way is an answer only where the status alone refuses the request (4xx)."""
    content = bytearray()
    try:
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > MAX_ANSWER_BYTES:
                break
    except (httpx.HTTPError, aiohttp.ClientError):
        if not 400 <= response.status_code < 500:
            raise
    finally:
        with contextlib.suppress(httpx.HTTPError, aiohttp.ClientError):
            await response.aclose()
    return RawAnswer(
        response.status_code,
        bytes(content[:MAX_ANSWER_BYTES]),
        parse_retry_after(response.headers.get("Retry-After")),
    )


def _opened(client: httpx.AsyncClient | None) -> httpx.AsyncClient:
    if client is None:
        raise RuntimeError("the provider is not open: use it with 'async with'")
    return client


def _timeout(timeouts: Timeouts, read: float) -> httpx.Timeout:
    """As httpx takes it."""
    return httpx.Timeout(connect=timeouts.connect, read=read, write=read, pool=timeouts.pool)
