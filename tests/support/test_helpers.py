"""The clock, the waiting, the ports and the wall around the tests do what their docstrings say."""

from __future__ import annotations

import socket

import pytest

from support.clock import MICROSECONDS_PER_SECOND, FixedClock
from support.network import LeftTheMachine, is_loopback
from support.ports import free_port
from support.waiting import wait_until


def test_the_clock_stands_still_until_it_is_advanced(clock: FixedClock) -> None:
    start_us = clock()
    assert clock() == start_us
    assert clock.advance(days=1, seconds=2, microseconds=3) == start_us + 86_402 * MICROSECONDS_PER_SECOND + 3
    assert clock() == start_us + 86_402 * MICROSECONDS_PER_SECOND + 3


def test_the_clock_does_not_run_backwards(clock: FixedClock) -> None:
    with pytest.raises(ValueError, match="-1 microseconds"):
        clock.advance(microseconds=-1)


def test_wait_until_returns_the_first_true_value() -> None:
    values = iter([None, 0, "there", "later"])
    assert wait_until(lambda: next(values), 60, "a value") == "there"


def test_wait_until_tries_once_even_without_time() -> None:
    assert wait_until(lambda: True, 0, "nothing") is True


def test_wait_until_names_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match="a train; the condition last gave False"):
        wait_until(lambda: False, 0.02, "a train")


def test_a_free_port_can_be_bound() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


# 192.0.2.0/24 and .invalid belong to nobody (RFC 5737, RFC 2606): even a broken guard would reach no one.
@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "host.invalid", "localhost.host.invalid"])
def test_strangers_are_recognised(host: str) -> None:
    assert not is_loopback(host)


def test_connecting_to_another_machine_raises() -> None:
    with socket.socket() as caller:
        caller.setblocking(False)
        with pytest.raises(LeftTheMachine, match=r"192\.0\.2\.1"):
            caller.connect(("192.0.2.1", 80))
        with pytest.raises(LeftTheMachine):
            caller.connect_ex(("192.0.2.1", 80))


def test_sending_to_another_machine_raises() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        with pytest.raises(LeftTheMachine):
            caller.sendto(b"x", ("192.0.2.1", 80))
        with pytest.raises(LeftTheMachine):
            caller.sendto(b"x", 0, ("192.0.2.1", 80))


def test_looking_up_a_name_raises_before_any_packet() -> None:
    with pytest.raises(LeftTheMachine, match=r"host\.invalid"):
        socket.create_connection(("host.invalid", 80), timeout=1)


def test_this_machine_stays_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("localhost", port), timeout=10), socket.socket() as caller:
            caller.connect(("127.0.0.1", port))


def test_torch_computes_with_two_threads() -> None:
    import torch  # not at the top: importing it takes a second

    assert torch.get_num_threads() == 2
