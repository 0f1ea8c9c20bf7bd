"""Which addresses may be told anything: whoever registers one must not reach what only this machine can reach.

Names are checked when they are registered; the addresses behind them when a connection is made, each time anew, and
that very address is connected to. So a name that changes its meaning in between opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from ledger.errors import WebhookRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2000
PORTS = {"https": 443, "http": 80}
_TRANSLATED = tuple(
    ip_network(one)
    for one in (
        "::/96",  # IPv4-compatible, and the unspecified address
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "2002::/16",  # 6to4
        "2001::/32",  # Teredo
        "fec0::/10",  # site-local
    )
)
"""IPv6 in which an IPv4 address is hidden, or that was internal once: nobody is reached by it in good faith."""
_SPECIAL = tuple(
    ip_network(one)
    for one in (
        "168.63.129.16/32",  # inside one cloud, though it looks public; the others' are link-local, private or shared
        "192.0.0.0/24",  # protocols' own, another cloud's metadata among them; Python calls some of it global
        "192.88.99.0/24",  # relays of 6to4
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message goes. host: a name or an address, without brackets. netloc: as the Host header says it."""

    scheme: str
    host: str
    port: int
    path: str
    netloc: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator allows. networks: internal ones that may be told. http: without TLS. ports: empty: any."""

    networks: tuple[Network, ...] = ()
    http: bool = False
    ports: frozenset[int] = frozenset()

    def target(self, url: str) -> Target:
        """Take an address apart. Raises WebhookRefused, without repeating it: it may carry a token."""
        if len(url) > LONGEST_URL or not url.isascii() or any(c <= " " or c == "\x7f" or c in '\\"<>' for c in url):
            raise WebhookRefused("it is longer than 2000 characters, or has characters that no address has")
        try:
            parts = urlsplit(url)
            port = parts.port or PORTS.get(parts.scheme, 0)
        except ValueError:
            raise WebhookRefused("it cannot be read as an address") from None
        if parts.scheme != "https" and not (self.http and parts.scheme == "http"):
            raise WebhookRefused("it must begin with https://" + (" or http://" if self.http else ""))
        if parts.username is not None or parts.password is not None or parts.fragment or not parts.hostname:
            raise WebhookRefused("it must name a host, and no user, password or fragment")
        if self.ports and port not in self.ports:
            raise WebhookRefused("the operator does not allow its port")
        host = parts.hostname
        literal = _literal(host)
        if literal is not None:
            self.require(literal)
        elif _is_numeric(host):
            raise WebhookRefused("its host is a number that is no address")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, host, port, path, parts.netloc)

    def require(self, address: str) -> None:
        """Raise WebhookRefused unless this address is everybody's, or the operator allows it."""
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:
            raise WebhookRefused("its host has an address that cannot be read") from None
        if any(found.version == network.version and found in network for network in self.networks):
            return
        if not is_public(found):
            raise WebhookRefused("its host has an internal address, which the operator has not allowed")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet, and to one machine there."""
    special = (*_TRANSLATED, *_SPECIAL)
    if any(address.version == network.version and address in network for network in special):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def rules(*, allow: str, http: bool, ports: str) -> Rules:
    """Read an operator's settings: networks and ports, separated by commas. Raises ValueError."""
    networks = tuple(ip_network(one, strict=False) for one in _listed(allow))
    return Rules(networks, http, frozenset(int(one) for one in _listed(ports)))


def _listed(text: str) -> Iterable[str]:
    return (one.strip() for one in text.split(",") if one.strip())


def _literal(host: str) -> str | None:
    try:
        return str(ip_address(host.partition("%")[0]))
    except ValueError:
        return None


def _is_numeric(host: str) -> bool:
    """Whether resolvers would read this as a number, as 127.1 or 0x7f000001: the last part decides."""
    last = host.rstrip(".").rpartition(".")[2].lower()
    return last.isdigit() or (last.startswith("0x") and all(c in "0123456789abcdef" for c in last[2:]))
