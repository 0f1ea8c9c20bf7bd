"""Whether a text names somebody: as a word, so that the hexadecimal "…ada…" of a random id is nobody."""

from __future__ import annotations

import re


def mentions(text: str | bytes, name: str) -> bool:
    """Return whether `name` stands in the text as a word of its own."""
    plain = text.decode() if isinstance(text, bytes) else text
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(name)}(?![0-9A-Za-z])", plain) is not None
