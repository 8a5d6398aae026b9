"""Where a picture may be fetched from: hosts that a setting names, at addresses that are open to everybody."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from trialigngr.foundation.errors import ImageError

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_SHOWN_CHARACTERS = 200
"""Characters of an address in a message: a catalogue may have made it of any length."""
_NAT64 = IPv6Network("64:ff9b::/96")
CLOSED = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
    "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20",
    "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
)))  # fmt: skip
"""Networks of special use (IANA's registries, and what they called site-local)."""


class ParsedUrl(NamedTuple):
    """An address on the web, taken apart. ``path`` is what is asked for, ready to be sent."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def has_default_port(self) -> bool:
        """Whether the port is the scheme's own."""
        return self.port == DEFAULT_PORTS[self.scheme]


def parse_url(url: str) -> ParsedUrl:
    """Return the place of an http(s) URL; raise `ImageError` for any other, or one that carries a user's name."""
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").rstrip("."), parts.port
        host = host if host.isascii() else host.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise ImageError(f"{url[:MAX_SHOWN_CHARACTERS]!r} is no address.", "bad address") from None
    if scheme not in DEFAULT_PORTS or not host or parts.username is not None or not host.isprintable() or " " in host:
        raise ImageError(f"{url[:MAX_SHOWN_CHARACTERS]!r} is no plain http or https address.", "bad address")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (
        f"?{_quote_query(parts.query)}" if parts.query else ""
    )
    return ParsedUrl(scheme, host, DEFAULT_PORTS[scheme] if port is None else port, path)


def _quote_query(query: str) -> str:
    return quote(query, safe="/%:@!$&'()*+,;=~-._?")


def is_allowed_host(url: ParsedUrl, hosts: Sequence[str]) -> bool:
    """Return whether one of ``hosts`` names the place: ``cdn.shop.com``, ``*.shop.com`` (all below it), or with a port.

    Without a port only the scheme's own fits.
    """
    return any(_matches_host(url, host.strip().lower()) for host in hosts)


def _matches_host(url: ParsedUrl, pattern: str) -> bool:
    host, colon, port = pattern.rpartition(":")
    if not colon or not port.isdecimal() or host.endswith(":"):
        host, right_port = pattern, url.has_default_port
    else:
        right_port = url.port == int(port)
    host = host.strip("[]")
    below = host.startswith("*.") and url.host.endswith(host[1:])
    return right_port and (below or url.host == host)


def resolve_addresses(url: ParsedUrl, allow_private: bool) -> list[str]:
    """Return the addresses that the host's name stands for now. Connect to these and resolve no second time.

    Unless ``allow_private``, one address that is not open to everybody (loopback, link-local, a private network,
    reserved) is enough to raise `ImageError`. Raises `OSError` when the name cannot be resolved.
    """
    found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if not allow_private and (closed := [one for one in addresses if not is_public(one)]):
        raise ImageError(
            f"{url.host} is {closed[0]}, an address inside a network; if pictures are to come from there, name the "
            "host in catalog.images.allowed_private_hosts.",
            "private address",
        )
    return addresses


def is_public(address: str) -> bool:
    """Return whether an address is open to everybody; of an IPv6 address that wraps an IPv4 one, that one counts."""
    ip = ip_address(address.partition("%")[0])
    inner = _embedded_ipv4(ip) if isinstance(ip, IPv6Address) else None
    if inner is not None:
        return is_public(str(inner))
    # What Python counts as global changed with its releases, and some of these are among it still.
    special = any(ip in network for network in CLOSED if network.version == ip.version)
    return ip.is_global and not (special or ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def _embedded_ipv4(ip: IPv6Address) -> IPv4Address | None:
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour
