"""Which network addresses a URL from outside may lead to: public ones. Checked on the address that is really connected to.

A name is resolved once, by the connection itself, so a name that resolves differently a moment later (DNS rebinding) gains
nothing; redirects are connections like any other. Through a proxy it is the proxy that resolves names.
"""

import asyncio
import ipaddress
import socket
from typing import Any

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
# What networks without IPv4 make of an IPv4 address (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddressError(PermissionError):
    """Raised instead of connecting to an address that is not public."""

    def __init__(self) -> None:
        # Without the address: aiohttp raises the error of several addresses as it is only where all read the same.
        super().__init__("not a public address")


def is_public(address: str) -> bool:
    """Whether an IP address is one that everybody in the internet reaches; False for what is no IP address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(_reachable(candidate) for candidate in _meant(parsed))


def _reachable(address: _Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _meant(address: _Address) -> list[_Address]:
    """The addresses that an address stands for, itself among them unless it is only another spelling."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)]
    tunnelled = (address.sixtofour, *(address.teredo or ()))
    return [address, *(embedded for embedded in tunnelled if embedded is not None)]


def public_only(address: _AddrInfo) -> socket.socket:
    """A socket for a public address: aiohttp's ``socket_factory``, which sees each address before it is connected to.

    Raises:
        PrivateAddressError: the address is not public.
    """
    family, kind, protocol, _, place = address
    if not is_public(str(place[0])):
        raise PrivateAddressError
    return socket.socket(family=family, type=kind, proto=protocol)


def is_private_literal(host: str) -> bool:
    """Whether a host is written as an address that is not public, or is this machine's own name."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        # Old spellings of IPv4 (127.1, 2130706433, 0x7f.1) that some resolvers understand.
        return all(_is_number(part) for part in name.split("."))
    return not is_public(name)


def _is_number(text: str) -> bool:
    try:
        int(text, 0)
    except ValueError:
        return text.isascii() and text.isdigit()
    return True


async def leads_to_private(host: str) -> bool:
    """Whether a host is, or resolves to, an address that is not public; False where it does not resolve."""
    if is_private_literal(host):
        return True
    try:
        resolved = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(not is_public(str(place[0])) for *_, place in resolved)


def is_private_address_error(error: BaseException | None) -> bool:
    """Whether an error of an HTTP client comes from ``public_only``."""
    while error is not None:
        if isinstance(error, PrivateAddressError):
            return True
        error = error.__cause__
    return False
