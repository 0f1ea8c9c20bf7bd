"""A server that speaks S3 for the tests: moto's, from its wheel, on a free loopback port."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest

from support.ports import free_port
from support.processes import GuardedServer, ServerStartError, server_folder, start_guarded

PORT_TRIES = 3


@dataclass(frozen=True)
class S3Server:
    """A running server; everybody may do everything with the keys in `environment`."""

    process: GuardedServer
    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find the server, and nothing else of S3."""
        return {
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "lacuna-test-id",
            "AWS_SECRET_ACCESS_KEY": "lacuna-test-secret",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def visit(self, patch: pytest.MonkeyPatch) -> None:
        """Let this process's clients find the server until `patch` is undone."""
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "HTTP_PROXY", "http_proxy"):
            patch.delenv(name, raising=False)
        for name, value in self.environment.items():
            patch.setenv(name, value)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            patch.setenv(name, "/nonexistent")

    def client(self) -> Any:
        """Return a client that shares no code with the one under test. Close it."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="lacuna-test-id",
            aws_secret_access_key="lacuna-test-secret",
        )


def start_s3() -> S3Server:
    """Start an empty server. Raises ServerStartError: it ended while starting; its output is in the message."""
    for attempt in range(PORT_TRIES):
        try:
            return _start_on(free_port())
        except ServerStartError:  # somebody may have taken the port between asking and binding
            if attempt == PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def _start_on(port: int) -> S3Server:
    url = f"http://127.0.0.1:{port}"
    process = start_guarded(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        server_folder("lacuna-s3-", None),
        account=None,
        ready=lambda: _listens(url),
    )
    return S3Server(process, url)


def _listens(url: str) -> bool:
    place = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((place.hostname, place.port)) == 0
