"""Scripts and style sheets: what is served is what was recorded, it can be kept for long, and it reaches nobody."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from support.site import Site

from service.dashboard.assets import PREFIX, TYPES, assets


def test_what_others_wrote_is_what_was_recorded() -> None:
    content = assets().content
    recorded = json.loads(content["vendored.json"])
    assert {"htmx.min.js", "uplot.min.js", "uplot.min.css", "pico.classless.min.css"} == recorded.keys()
    for name, facts in recorded.items():
        assert hashlib.sha256(content[name]).hexdigest() == facts["sha256"], name
        assert facts["licence"] in ("0BSD", "MIT")
        assert f"{facts['package']} {facts['version']}" in content["licences.txt"].decode()
    assert all(name in recorded for name in content if ".min." in name), "a minified file that nobody recorded"


def test_every_asset_has_a_type(site: Site) -> None:
    site.client.headers.pop("Authorization")  # the page before signing in needs them too
    for name, content in assets().content.items():
        answer = site.client.get(assets().address(name))
        assert answer.status_code == 200, name
        assert answer.content == content
        assert answer.headers["content-type"] == TYPES[name.rpartition(".")[2]]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_an_asset_is_not_sent_twice_and_an_old_address_is_not_kept(site: Site) -> None:
    at = assets().address("style.css")
    etag = site.client.get(at).headers["etag"]
    again = site.client.get(at, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    old = site.client.get(f"{PREFIX}/{'0' * 16}/style.css")
    assert old.headers["cache-control"] == "no-cache"
    assert old.headers["etag"] == etag


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", "%2e%2e", "style.css%00"])
def test_nothing_else_is_served(site: Site, name: str) -> None:
    assert site.client.get(f"{PREFIX}/{assets().digest}/{name}").status_code == 404


@pytest.mark.parametrize("name", ["style.css", "pico.classless.min.css", "uplot.min.css"])
def test_style_sheets_reach_no_other_machine(name: str) -> None:
    text = assets().content[name].decode()
    fetched = re.findall(r"""url\(["']?([^"')]{0,40})""", text)
    assert all(address.startswith("data:") or address in assets().content for address in fetched)
    assert "prefers-color-scheme: dark" in assets().content["style.css"].decode()
