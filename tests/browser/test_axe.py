"""What examines the pages is what was recorded, and it would find something."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from support.browsing import AXE, Visitor

BAD = "<!doctype html><html><title>x</title><img src=''><p style='color:#999;background:#aaa'>pale</p></html>"


def test_axe_is_what_was_recorded() -> None:
    recorded = json.loads(AXE.with_name("vendored.json").read_text())
    assert {path.name for path in AXE.parent.glob("*.js")} == recorded.keys()
    for name, facts in recorded.items():
        assert hashlib.sha256(AXE.with_name(name).read_bytes()).hexdigest() == facts["sha256"]
        assert f"axe v{facts['version']}" in Path(AXE).read_text()[:100]


def test_axe_would_find_a_bad_page(visitor: Visitor) -> None:
    with visitor.page() as page:
        page.set_content(BAD)
        found = " ".join(visitor.axe_violations(page))
    assert all(kind in found for kind in ("image-alt", "html-has-lang", "color-contrast"))
