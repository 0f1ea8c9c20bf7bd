"""What examines the pages is what was recorded."""

from __future__ import annotations

import hashlib
import json

from support.browsing import AXE


def test_axe_is_what_was_recorded() -> None:
    recorded = json.loads(AXE.with_name("vendored.json").read_text())
    assert {path.name for path in AXE.parent.glob("*.js")} == recorded.keys()
    for name, facts in recorded.items():
        content = AXE.with_name(name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == facts["sha256"]
        assert f"axe v{facts['version']}".encode() in content[:100]
