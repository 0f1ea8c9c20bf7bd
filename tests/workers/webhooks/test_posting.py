"""One POST to a stranger's address: the address that was checked is the one that is reached, and no attempt hangs."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.receiver import Receiver, receiver

from ledger.webhooks.targets import Rules, rules
from workers.webhooks.posting import Poster

LOOPBACK = rules(allow="127.0.0.0/8", http=True, ports="")
NAME = "hooks.example.org"


def resolving_to(*addresses: str) -> Callable[..., Any]:
    """Return a resolver that gives these addresses, one after another, each time it is asked."""
    left = list(addresses)

    def resolve(_host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        address = left.pop(0) if len(left) > 1 else left[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    return resolve


def poster(found: Rules = LOOPBACK, timeout_s: float = 5, **options: Any) -> Poster:
    return Poster(found, ssl.create_default_context(), timeout_s=timeout_s, **options)


@pytest.fixture
def listening() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def named(listening: Receiver, path: str = "/in?token=7") -> str:
    return listening.url.replace("127.0.0.1", NAME) + path


def test_the_message_arrives_as_it_is(listening: Receiver) -> None:
    answer = poster(resolve=resolving_to("127.0.0.1")).post(named(listening), b'{"a":1}', {"webhook-id": "msg_1"})
    assert (answer.status, answer.error, answer.is_success) == (204, None, True)
    (got,) = listening.received
    assert (got.path, got.body, got.headers["webhook-id"]) == ("/in?token=7", b'{"a":1}', "msg_1")
    assert got.headers["host"] == named(listening).split("/")[2]
    assert got.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
def test_a_name_that_means_an_internal_address_is_not_asked(listening: Receiver, address: str) -> None:
    answer = poster(Rules(http=True), resolve=resolving_to(address)).post(named(listening), b"{}", {})
    assert (answer.status, answer.error) == (None, "the address may not be told")
    assert listening.received == []


def test_one_internal_address_among_others_rules_out_all(listening: Receiver) -> None:
    def both(_host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("127.0.0.1", "10.0.0.1")]

    assert poster(resolve=both).post(named(listening), b"{}", {}).error == "the address may not be told"
    assert listening.received == []


def test_a_name_that_changes_its_meaning_is_looked_up_once_and_not_connected_to_anew(listening: Receiver) -> None:
    asked = []
    changing = resolving_to("127.0.0.1", "169.254.169.254")

    def resolve(*arguments: Any, **keywords: Any) -> Any:
        asked.append(arguments[0])
        return changing(*arguments, **keywords)

    sending = poster(resolve=resolve)
    assert sending.post(named(listening), b"{}", {}).status == 204  # the address that was checked
    assert asked == [NAME]
    assert sending.post(named(listening), b"{}", {}).error == "the address may not be told"
    assert len(listening.received) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(listening: Receiver, status: int) -> None:
    with receiver() as secret:
        listening.answer = lambda _request: (status, {"Location": f"{secret.url}/internal"})
        answer = poster(resolve=resolving_to("127.0.0.1")).post(named(listening), b"{}", {})
        assert (answer.status, answer.is_success) == (status, False)
        assert secret.received == []


def test_no_proxy_of_the_environment_sees_it(listening: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert poster(resolve=resolving_to("127.0.0.1")).post(named(listening), b"{}", {}).status == 204
        assert proxy.received == []


def test_what_the_receiver_asks_for_is_read(listening: Receiver) -> None:
    for header, read in (("120", 120), ("-1", None), ("9" * 40, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)):
        listening.answer = lambda _request, header=header: (503, {"Retry-After": header})
        assert poster(resolve=resolving_to("127.0.0.1")).post(named(listening), b"{}", {}).retry_after_s == read


@contextmanager
def answering(*parts: bytes, then: Callable[[socket.socket], None] = lambda _: None) -> Iterator[str]:
    """Listen, answer whoever comes with these bytes, whatever they say, and then do something."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def serve() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(65536)
                for part in parts:
                    caller.sendall(part)
                then(caller)
                over.wait(30)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://{NAME}:{listener.getsockname()[1]}/"
        over.set()
        thread.join()


def trickle(caller: socket.socket) -> None:
    """Send a byte now and then until the other side has enough of it."""
    pause = threading.Event()
    try:
        while not pause.wait(0.02):
            caller.sendall(b"X")
    except OSError:
        return


@pytest.mark.parametrize(
    ("said", "then"),
    [(b"", lambda _: None), (b"HTTP/1.1 200 OK\r\nA: ", trickle), (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, trickle)],
    ids=["silent", "trickling", "continuing"],
)
def test_a_receiver_that_keeps_the_line_open_is_given_up(said: bytes, then: Callable[[socket.socket], None]) -> None:
    with answering(said, then=then) as url:
        answer = poster(timeout_s=0.3, resolve=resolving_to("127.0.0.1")).post(url, b"{}", {})
    assert (answer.status, answer.error) == (None, "no answer in time")


def test_an_endless_body_is_not_read() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n") as url:
        assert poster(resolve=resolving_to("127.0.0.1")).post(url, b"{}", {}).status == 200


@pytest.mark.parametrize("said", [b"SSH-2.0-Server\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000 + b"\r\n\r\n"])
def test_an_answer_that_is_none_is_an_error_in_our_own_words(said: bytes) -> None:
    with answering(said) as url:
        assert poster(resolve=resolving_to("127.0.0.1")).post(url, b"{}", {}).error == "the answer is not HTTP"


def test_nobody_there(listening: Receiver) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "no such name")

    assert poster(resolve=unknown).post(named(listening), b"{}", {}).error == "the name is not known"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://{NAME}:{listener.getsockname()[1]}/"
    assert poster(resolve=resolving_to("127.0.0.1")).post(closed, b"{}", {}).error == "the connection failed"


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate for `name` that signs itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.mark.parametrize(("said", "reached"), [(NAME, True), ("other.example.org", False)])
def test_tls_checks_the_name_though_the_address_is_connected_to(tmp_path: Path, said: str, reached: bool) -> None:
    file = certificate(tmp_path, said)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    with receiver(serving) as listening:
        sending = Poster(LOOPBACK, trusting, resolve=resolving_to("127.0.0.1"), timeout_s=10)
        answer = sending.post(named(listening), b"{}", {})
        assert (answer.status, answer.error) == ((204, None) if reached else (None, "TLS could not be agreed on"))
        assert bool(listening.received) == reached
