"""Reading an image's bytes from wherever the manifest says they are. Does not look at the pixels."""

import asyncio
import io
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import fsspec

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media.memory import MIB, MemoryBudget
from sora_pipeline.schemes import is_web, open_uri, why_refused
from sora_pipeline.uris import is_incomplete, shown_uri

SMALL_BYTES = 4 * MIB
"""Files up to this size are read by as many threads as there are."""
LARGE_FILES = MemoryBudget(512 * MIB)
"""Files beyond that, twice: once as they are, and once as what is decoded of them."""
_HTTP_TIMEOUT_S = 120

SocketFactory = Callable[[Any], socket.socket]
"""Makes the socket for an address that is about to be connected to; refuses one with a ``PermissionError``."""


class ImageError(SoraPipelineError):
    """Raised where an image cannot be read or used; the message is a sentence for the person who wrote the row.

    Attributes:
        transient: The same image may well work in a minute: a time-out, a server's 500.
    """

    def __init__(self, message: str, *, transient: bool = False, code: str = "") -> None:
        super().__init__(message, code)
        self.transient = transient


def display_name(uri: str) -> str:
    """The URI as it may appear in logs: no password, no signature, not endless."""
    uri = shown_uri(uri)
    return uri if len(uri) <= 300 else f"{uri[:297]}..."


def read_image(
    uri: str, *, limit_bytes: int = 50 * MIB, socket_factory: SocketFactory | None = None
) -> bytes:
    """The file of ``image_file``, for whom one more in memory does not matter."""
    with image_file(uri, limit_bytes=limit_bytes, socket_factory=socket_factory) as content:
        return content


@contextmanager
def image_file(
    uri: str, *, limit_bytes: int = 50 * MIB, socket_factory: SocketFactory | None = None
) -> Iterator[bytes]:
    """Read an image file, and hold the memory that it takes while the body runs.

    Args:
        uri: A local path, an http(s) URL, or a URI of one of the schemes of ``schemes``, such as ``s3://bucket/key``.
        limit_bytes: The largest file accepted; reading stops there.
        socket_factory: Sees each address that an http(s) URL, and each redirect from it, leads to, and may refuse it, such
            as ``provider.addresses.public_only``. Through a proxy it is the proxy that decides what it reaches.

    Raises:
        ImageError: it is not there, may not be read, is empty or larger than the limit, its scheme is not allowed, or the
            driver for it is not installed.
    """
    name = display_name(uri)
    if is_incomplete(uri):
        raise ImageError(
            f"Image {name} is an address as it is shown, without its query or fragment; the whole address is needed.",
            code="incomplete_image",
        )
    refused = why_refused(uri)
    if refused is not None:
        raise ImageError(f"Image {name} is not read: {refused}.")
    with ExitStack() as held:
        try:
            with _open(uri, socket_factory) as file:
                content = _read_up_to(file, limit_bytes, held)
        except Exception as error:  # every fsspec driver raises errors of its own library
            raise _explain(uri, error) from error
        if len(content) > limit_bytes:
            raise ImageError(
                f"Image {name} is larger than {limit_bytes / MIB:g} MiB, the most that is read; make it smaller."
            )
        if not content:
            raise ImageError(f"Image {name} is empty (0 bytes); PNG, JPEG or WebP is needed.")
        yield content


def _open(uri: str, socket_factory: SocketFactory | None) -> IO[bytes]:
    return _open_http(uri, socket_factory) if is_web(uri) else open_uri(uri)


def _open_http(url: str, socket_factory: SocketFactory | None) -> IO[bytes]:
    import aiohttp

    client: dict[str, Any] = {
        "trust_env": True,
        "timeout": aiohttp.ClientTimeout(total=_HTTP_TIMEOUT_S, sock_connect=20, sock_read=30),
        "headers": {"User-Agent": "sora-pipeline"},  # some image hosts refuse anonymous libraries
    }
    # A URL that is already percent-encoded stays as it is: signatures are made over the exact text.
    options: dict[str, Any] = {"encoded": "%" in url}
    if socket_factory is not None:
        proxy = _proxy_for(url)
        # Where there is a proxy, redirects go through it, too; else no environment may send one around the check.
        client |= {"trust_env": False, "proxy": proxy}
        if proxy is None:
            options |= {"get_client": _session_with(socket_factory), "skip_instance_cache": True}
    fs = fsspec.filesystem("http", client_kwargs=client, **options)
    # block_size 0 asks for one plain streamed GET, and a size stops the HEAD request before it, which signed URLs
    # refuse. The size itself is not used for streams.
    return cast(IO[bytes], fs.open(url, "rb", block_size=0, size=1))


def _session_with(socket_factory: SocketFactory) -> Callable[..., Any]:
    import aiohttp

    async def get_client(loop: asyncio.AbstractEventLoop, **options: Any) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(socket_factory=socket_factory, loop=loop)
        return aiohttp.ClientSession(connector=connector, loop=loop, **options)

    return get_client


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme.lower()) or proxies.get("all")
    return None if not proxy or proxy_bypass(parts.hostname or "") else proxy


def _read_up_to(file: IO[bytes], limit_bytes: int, held: ExitStack) -> bytes:
    content = io.BytesIO()
    if _copy(file, content, min(limit_bytes, SMALL_BYTES) + 1) and limit_bytes > SMALL_BYTES:
        held.enter_context(LARGE_FILES.reserve(2 * limit_bytes))
        _copy(file, content, limit_bytes - SMALL_BYTES)
    return content.getvalue()


def _copy(file: IO[bytes], content: io.BytesIO, most: int) -> bool:
    """Copy so many bytes; whether they were there. One more than allowed shows that there is more."""
    while most > 0 and (part := file.read(min(most, MIB))):  # streams return short reads
        content.write(part)
        most -= len(part)
    return most == 0


def _explain(uri: str, error: Exception) -> ImageError:
    name = display_name(uri)
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return ImageError(
            f"Image {name} could not be read: the server answered HTTP {status}.",
            transient=status >= 500 or status in {408, 429},
        )
    if isinstance(
        getattr(error, "os_error", None), PermissionError
    ):  # the socket factory's, inside aiohttp's
        return ImageError(
            f"Image {name} was not read: {getattr(error, 'host', 'its host')} leads to an address that is not in the public internet.",
            code="private_image",
        )
    if isinstance(error, ImportError):
        return ImageError(
            f"Image {name} could not be read: {error}. Install that package, or use a local path or an http(s) URL."
        )
    if isinstance(error, FileNotFoundError):
        return ImageError(f"Image {name} does not exist.")
    if isinstance(error, IsADirectoryError):
        return ImageError(f"Image {name} is a folder; the path of one image file is needed.")
    if isinstance(error, PermissionError):
        return ImageError(f"Image {name} may not be read: permission denied.")
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return ImageError(f"Image {name} could not be read in time.", transient=True)
    # What is left from a local disk is a bad path; from a network it is the network.
    transient = "://" in uri and not isinstance(error, ValueError)
    message = str(error).replace(uri, name).partition("\n")[0][:200]
    return ImageError(
        f"Image {name} could not be read: {type(error).__name__}: {message}", transient=transient
    )
