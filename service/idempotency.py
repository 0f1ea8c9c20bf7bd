"""`Idempotency-Key`: a request that is sent again is answered again, and not done again.

Source: draft-ietf-httpapi-idempotency-key-header-07; the value is a String of RFC 9651.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json

from ledger import idempotency, tenants
from ledger.database import Transaction
from ledger.errors import IdempotencyKeyReused, StillInProgress
from ledger.idempotency import Kept
from ledger.ledger import Ledger
from service.refusals import IdempotencyKeyUnreadable

_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')
_NONE: Mapping[str, Any] = {}

REFUSALS = (IdempotencyKeyUnreadable, IdempotencyKeyReused, StillInProgress)
"""What an address that reads the header may answer because of it."""


class Replay(Exception):
    """The request was done before; this is the answer it got."""

    def __init__(self, answer: Kept) -> None:
        super().__init__("The answer was kept.")
        self.answer = answer


class Once:
    """One request that makes something, with the key that it came with, or None."""

    def __init__(self, key: str | None, request: Request, body: bytes, response: Response) -> None:
        """`body` is the whole body of `request`; headers of the answer are put into `response`."""
        self._key = key
        self._request = request
        self._body = body
        self._response = response
        self._claimed: tuple[str, bytes] | None = None
        self._left_out: Mapping[str, Any] = _NONE
        self._kept = False

    @contextmanager
    def begin(self, ledger: Ledger, tenant_id: str, *, left_out: Mapping[str, Any] = _NONE) -> Iterator[Transaction]:
        """Open the transaction that does it, in which `answer` is to be called once.

        `left_out`: top-level fields of the answer that are not kept, with what stands there when it is repeated.
        Raises Replay: it was done before. Raises IdempotencyKeyReused, StillInProgress.
        """
        with ledger.database.begin() as tx:
            if self._key is not None:
                self._left_out = left_out
                self._claim(tx, ledger, tenant_id, self._key)
            yield tx
            assert self._kept or self._claimed is None, "an answer must be kept before the transaction ends"

    def look(self, ledger: Ledger, tenant_id: str) -> None:
        """Look whether it was done before, for endpoints that have much to do before they `begin`. Raises as that."""
        if self._key is not None:
            with ledger.database.read() as tx:
                kept = idempotency.find(tx, tenant_id, *self._hashed(tx, ledger, tenant_id, self._key))
            if kept is not None:
                raise Replay(kept)

    def _claim(self, tx: Transaction, ledger: Ledger, tenant_id: str, key: str) -> None:
        key_hmac, request = self._hashed(tx, ledger, tenant_id, key)
        kept = idempotency.claim(tx, tenant_id, key_hmac, request)
        if kept is not None:
            raise Replay(Kept(kept.status, kept.headers, {**kept.body, **self._left_out}))
        self._claimed = tenant_id, key_hmac

    def _hashed(self, tx: Transaction, ledger: Ledger, tenant_id: str, key: str) -> tuple[bytes, bytes]:
        """Return what is kept of the key, and of the request."""
        hasher = tenants.alias_hasher(tx, ledger.ring, tenant_id)
        target = f"{self._request.url.path}?{self._request.url.query}"
        request = idempotency.fingerprint(hasher, self._request.method, target, self._body)
        return hasher.retry_key("key", key), request

    @property
    def is_keyed(self) -> bool:
        """Whether the request came with a key."""
        return self._key is not None

    def headers(self, **headers: str) -> dict[str, str]:
        """Set headers of the answer (`Retry_After` is Retry-After), and return them by their names."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._response.headers.update(named)
        return named

    def answer(self, tx: Transaction, body: BaseModel, status: int, **headers: str) -> None:
        """Set the answer's headers (`Retry_After` is Retry-After), and keep the answer in the same transaction."""
        named = self.headers(**headers)
        if self._claimed is not None:
            shown = body.model_dump(mode="json")
            # In the place of what is left out stands null, so that the fields keep their order.
            kept = {name: None if name in self._left_out else value for name, value in shown.items()}
            idempotency.keep(tx, *self._claimed, Kept(status, named, kept))
            self._kept = True


async def _once(
    request: Request,
    response: Response,
    idempotency_key: Annotated[
        str | None,
        Header(
            description='A quoted string that is new for every new request, `"8e03978e-40d5-43dd"`. The same request '
            "sent again with it within 24 hours gets the same answer and does nothing; another request is refused.",
        ),
    ] = None,
) -> Once:
    if idempotency_key is None:
        return Once(None, request, b"", response)
    found = _STRING.fullmatch(idempotency_key.strip())
    if found is None or len(request.headers.getlist("Idempotency-Key")) > 1:
        raise IdempotencyKeyUnreadable
    return Once(found[1], request, await request.body(), response)


Retryable = Annotated[Once, Depends(_once)]
"""What an endpoint takes that makes something."""


def install(app: FastAPI) -> None:
    """Have answers that were kept sent again."""
    app.add_exception_handler(Replay, _replay)


async def _replay(_request: Request, replay: Exception) -> Response:
    assert isinstance(replay, Replay)
    body = to_json(replay.answer.body)  # as FastAPI writes it: Python's own module spells some numbers in another way
    kept = replay.answer
    return Response(body, status_code=kept.status, headers=dict(kept.headers), media_type="application/json")
