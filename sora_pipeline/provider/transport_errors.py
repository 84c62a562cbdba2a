"""What a transport error means for the money: was anything sent?

httpx-aiohttp 0.2.0 cannot be taken at its word here. Its table maps every ``aiohttp.ClientConnectionError`` to
``httpx.ConnectTimeout`` first, and that includes ``ServerDisconnectedError`` and the reset of a connection on which the
whole request was already sent. ``httpx.ConnectTimeout`` therefore does *not* mean that nothing was sent. The aiohttp
exception underneath (``__cause__``) does tell, so it alone decides.

Resending: aiohttp's ``ClientSession._request`` repeats a request once, by itself, when a pooled connection turns out to be
dead (``retry_persistent_connection``), but only for ``IDEMPOTENT_METHODS`` (GET, HEAD, OPTIONS, TRACE, PUT, DELETE): a POST
is never repeated, it fails with ``ServerDisconnectedError`` or ``ClientOSError``. That failure would be ambiguous for a
request that nobody read, so submits also get a fresh connection each (see ``connections.py``).
"""

import aiohttp

from sora_pipeline.provider.connections import UnusableProxy
from sora_pipeline.provider.errors import AmbiguousSubmitError, ErrorKind, ProviderError, TransientError
from sora_pipeline.provider.wording import tidy

# Raised by aiohttp's connector only, before a byte of the request is written: DNS, refused, TLS handshake, proxy,
# connect timeout, and waiting for a free connection (aiohttp 3.14: `connector.py`, and the ConnectionTimeoutError around
# `connector.connect` in `client.py`).
_NOTHING_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


def submit_lost(error: Exception, *, secret: str = "") -> ProviderError:
    """What it means that a submit ended in an exception instead of an answer.

    Anything not known to happen before the request is written counts as sent.
    """
    words = describe(error, secret=secret)
    if isinstance(error, UnusableProxy) or isinstance(_aiohttp_cause(error), _NOTHING_SENT):
        return TransientError(ErrorKind.CONNECT, f"the request could not be sent: {words}")
    return AmbiguousSubmitError(
        ErrorKind.AMBIGUOUS_SUBMIT, f"the request was sent, the answer was lost, it may be billed: {words}"
    )


def read_lost(error: Exception, *, secret: str = "") -> TransientError:
    """A GET without an answer: it says nothing about what was asked for, and may be repeated."""
    return TransientError(ErrorKind.CONNECT, f"no answer: {describe(error, secret=secret)}")


def describe(error: Exception, *, secret: str = "") -> str:
    """The error that really happened, by name and words."""
    real = _aiohttp_cause(error) or error
    words = str(real)
    return tidy(f"{type(real).__name__}: {words}" if words else type(real).__name__, secret=secret)


def _aiohttp_cause(error: BaseException) -> aiohttp.ClientError | None:
    current: BaseException | None = error
    while current is not None:
        if isinstance(current, aiohttp.ClientError):
            return current
        current = current.__cause__
    return None
