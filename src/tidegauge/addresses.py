"""Which addresses notifications and judged texts may go to. Decided on the resolved one, which is then connected to.

Names such as ``2130706433`` or ``0177.0.0.1`` are resolved first, so they are judged as the 127.0.0.1 that they mean.
"""

from __future__ import annotations

import queue
import socket
import threading
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")
Address = IPv4Address | IPv6Address


class Refused(Exception):
    """An address or URL that nothing may be sent to. Final."""


class Unresolved(Exception):
    """A name that could not be resolved, now."""


def is_public(text: str) -> bool:
    """Whether ``text``, a numeric address, is on the open internet and no way back into a private network.

    Addresses that carry another one (IPv4-mapped, IPv4-compatible, NAT64, 6to4, Teredo) are as public as that one.

    >>> [is_public(each) for each in ("1.1.1.1", "127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe")]
    [True, False, False, False]
    """
    address = ip_address(text.partition("%")[0])
    inner = _carried(address)
    if inner:
        return all(is_public(str(each)) for each in inner)
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_global and not (address.is_multicast or address.is_reserved or site_local)


def check_url(url: str, *, allow_internal: bool) -> None:
    """Refuse, without asking the resolver, a URL that could never be allowed.

    Raises:
        Refused: not http or https, no host, or a literal internal address.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError as error:
        raise Refused(f"is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise Refused("must start with http:// or https:// and name a host")
    literal = _literal(host)
    if literal and not allow_internal and not is_public(literal):
        raise Refused(f"{host} is an internal address; allow_internal_addresses: true would allow it")


def resolve(host: str, port: int, timeout_s: float, *, allow_internal: bool) -> list[str]:
    """The numeric addresses of ``host``, all of them allowed.

    Raises:
        Refused: one of them is internal (all are refused then: a name that is both is a trap).
        Unresolved: there are none, or not within ``timeout_s``.
    """
    found = _lookup(host, port, timeout_s)
    internal = [] if allow_internal else [each for each in found if not is_public(each)]
    if internal:
        raise Refused(f"resolves to the internal address {internal[0]}, which needs allow_internal_addresses: true")
    return found


def _lookup(host: str, port: int, timeout_s: float) -> list[str]:
    answer: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(each[4][0]) for each in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=ask, name="tidegauge-resolve", daemon=True).start()
    try:
        found = answer.get(timeout=max(0.001, timeout_s))
    except queue.Empty:
        raise Unresolved(f"the name was not resolved within {timeout_s:.3g} s") from None
    if isinstance(found, Exception) or not found:
        raise Unresolved(f"the name cannot be resolved: {found or 'no address'}")
    return found


def _literal(host: str) -> str:
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # decimal, octal and short forms
    except (OSError, UnicodeError):
        return "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else ""


def _carried(address: Address) -> list[Address]:
    if isinstance(address, IPv4Address):
        return []
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if any(address in each for each in _NAT64) or (address in _COMPATIBLE and int(address) > 1):
        return [low]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    return [each for each in inner if each is not None]
