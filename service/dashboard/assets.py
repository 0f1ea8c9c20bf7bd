"""Scripts and style sheets: served from here under an address that holds their digest, so browsers may keep them.

What comes from elsewhere is named with its version, licence and SHA-256 in `static/vendored.json`. Nothing here is
secret, so it needs no sign-in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

PREFIX = "/dashboard/static"
TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}
YEAR_S = 31_536_000

router = APIRouter(prefix=PREFIX, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Assets:
    """Every file by its name, and one digest over all of them: style sheets import each other by relative address."""

    content: dict[str, bytes]
    digest: str

    def address(self, name: str) -> str:
        """Return where a page finds an asset. Raises KeyError: there is none of that name."""
        assert self.content[name] is not None
        return f"{PREFIX}/{self.digest}/{name}"


@cache
def assets() -> Assets:
    """Read the files, once per process."""
    folder = files("service.dashboard").joinpath("static")
    content = {item.name: item.read_bytes() for item in sorted(folder.iterdir(), key=lambda item: item.name)}
    together = hashlib.sha256()
    for name, data in content.items():
        together.update(f"{name} {len(data)}\n".encode() + data)
    return Assets(content, together.hexdigest()[:16])


@router.get("/{digest}/{name}")
def asset(digest: str, name: str, request: Request) -> Response:
    """One file. Under an old digest the file of today is sent, to be asked for again."""
    found = assets().content.get(name)
    if found is None:
        raise HTTPException(404)
    etag = f'"{hashlib.sha256(found).hexdigest()[:32]}"'
    current = digest == assets().digest
    headers = {"ETag": etag, "Cache-Control": f"public, max-age={YEAR_S}, immutable" if current else "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(found, media_type=TYPES[name.rpartition(".")[2]], headers=headers)
