"""Which URLs belong to the provider's own origin: the key is sent nowhere else."""

from urllib.parse import urljoin

import httpx

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an absolute http(s) URL; None where it is anything else.

    URLs on which parsers disagree (user info, backslashes, white space) have no origin here, so that they never
    count as the provider's.
    """
    if "\\" in url or any(character.isspace() for character in url):
        return None
    try:
        parsed = httpx.URL(url)
        port = _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
        host = parsed.host.lower()
    except (httpx.InvalidURL, KeyError, TypeError, ValueError):
        return None
    if not host or parsed.userinfo:
        return None
    return parsed.scheme, host, port


def same_origin(url: str, other: str) -> bool:
    """Whether two URLs share scheme, host and port."""
    own_origin = origin(url)
    return own_origin is not None and own_origin == origin(other)


def absolute(base: str, reference: object) -> str | None:
    """A reference found at ``base`` as an absolute http(s) URL, or None where it is not one."""
    if not isinstance(reference, str) or not reference.strip():
        return None
    try:
        joined = urljoin(base, reference.strip())
    except ValueError:
        return None
    return joined if origin(joined) is not None else None
