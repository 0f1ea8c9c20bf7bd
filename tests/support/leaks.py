"""Find what must not be in a repository: secrets, and paths of somebody's machine."""

from __future__ import annotations

import math
import re
from collections import Counter

# A line that must show a key, such as one printed in a standard, says these words.
EXCUSE = "public test vector"
# The header with what follows it: code that only compares headers holds no key. Old files have "Proc-Type" lines.
PRIVATE_KEY = re.compile(r"""-{5}BEGIN [A-Z ]*PRIVATE KEY-{5}(?:[\s"'b]|\\[nr])*(?:[A-Za-z0-9+/]{20}|Proc-Type)""")
KNOWN_TOKEN = re.compile(
    r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[abprs]-[A-Za-z0-9-]{20}|hf_[A-Za-z]{30})"
)
ASSIGNED = re.compile(r"""(?i)(?:password|passwd|secret|api_?key|token)["']?\s*[:=]\s*["']?([A-Za-z0-9+/_=-]{16,})""")
LITERAL = re.compile(r"[A-Za-z0-9+/_-]{32,}")
# Bits per character. English and identifiers stay below 4.3; 43 random base64 characters have about 5.
RANDOM_BITS = 4.5
ASSIGNED_BITS = 3.0
MACHINE_PATH = re.compile(r"(?<![\w.~])(?:/(?:home|Users)/[\w.-]+|/(?:root|work)/[\w.-]+|[A-Z]:\\Users\\)")


def bits_per_character(text: str) -> float:
    """Shannon entropy of the characters of `text`."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)


def secrets_in(text: str) -> list[str]:
    """What looks like a secret: headers of private keys, and lines with a token or a password."""
    keys = [found[0].splitlines()[0] for found in PRIVATE_KEY.finditer(text)]
    return keys + [line.strip() for line in text.splitlines() if EXCUSE not in line and _is_suspicious(line)]


def _is_suspicious(line: str) -> bool:
    if KNOWN_TOKEN.search(line):
        return True
    if any(bits_per_character(value) > ASSIGNED_BITS and _has_digit(value) for value in ASSIGNED.findall(line)):
        return True
    return any(bits_per_character(word) > RANDOM_BITS and _looks_encoded(word) for word in LITERAL.findall(line))


def _has_digit(value: str) -> bool:
    return re.search(r"\d", value) is not None


def _looks_encoded(word: str) -> bool:
    """Digits, capitals and small letters mixed: base64 has all three, digests in hexadecimal and names do not."""
    return all(re.search(kind, word) for kind in (r"\d", "[a-z]", "[A-Z]"))


def machine_paths_in(text: str) -> list[str]:
    """Absolute paths that exist on the machine of whoever wrote them."""
    return MACHINE_PATH.findall(text)
