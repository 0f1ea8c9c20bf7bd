"""Which addresses may be told: nothing that only this machine, its network or its cloud can reach."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ledger.errors import WebhookRefused
from ledger.settings import LedgerSettings
from ledger.webhooks.targets import Rules, is_public, rules

INTERNAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",  # shared by carriers
    "100.100.100.200",  # a cloud's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # a cloud's own, in the middle of public addresses
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.9",
    "192.0.0.192",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "2001::1",
    "2002:7f00:1::",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450:4001::200e"]


@pytest.mark.parametrize("address", INTERNAL)
def test_internal_addresses_are_refused(address: str) -> None:
    with pytest.raises(WebhookRefused, match="internal"):
        Rules().require(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not(address: str) -> None:
    Rules().require(address)
    assert is_public(ip_address(address))


def test_the_operator_may_allow_a_network_and_nothing_beside_it() -> None:
    allowing = rules(allow="10.1.0.0/16, ::1/128", http=False, ports="")
    for address in ("10.1.2.3", "::1"):
        allowing.require(address)
    for address in ("10.2.0.1", "127.0.0.1", "::ffff:10.1.2.3"):
        with pytest.raises(WebhookRefused):
            allowing.require(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///path",
        "http://hooks.example.org/",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "//hooks.example.org",
        "https://user:word@hooks.example.org/",
        "https://hooks.example.org/#part",
        "https://hooks.example.org:99999/",
        "https://hooks.example.org:x/",
        "https://hooks.example.org/a b",
        "https://hooks.example.org/\r\nX-Injected: 1",
        "https://hooks.example.org\\@127.0.0.1/",
        "https://höks.example.org/",
        "https://hooks.example.org/" + "a" * 2000,
        "https://[::1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
    ],
)
def test_addresses_that_are_refused_when_they_are_registered(url: str) -> None:
    with pytest.raises(WebhookRefused) as refused:
        Rules().target(url)
    assert "hooks.example" not in str(refused.value)


def test_an_address_is_taken_apart() -> None:
    found = Rules().target("https://Hooks.Example.org:8443/a/b?token=1")
    assert (found.scheme, found.host, found.port, found.path) == ("https", "hooks.example.org", 8443, "/a/b?token=1")
    assert found.netloc == "Hooks.Example.org:8443"
    assert Rules().target("https://hooks.example.org").path == "/"
    assert Rules(http=True).target("http://hooks.example.org/").port == 80


def test_ports_may_be_limited() -> None:
    limited = rules(allow="", http=False, ports="443,8443")
    assert limited.target("https://hooks.example.org:8443/").port == 8443
    with pytest.raises(WebhookRefused, match="port"):
        limited.target("https://hooks.example.org:22/")


@pytest.mark.parametrize("wrong", [{"webhook_allow": "10.0.0.0/33"}, {"webhook_ports": "https"}])
def test_settings_that_cannot_be_read_stop_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"webhook|invalid literal|appear"):
        LedgerSettings(**wrong)
