"""What a run of the command line gives to a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


Lacuna = Callable[..., Said]
"""Runs `lacuna` with these arguments."""
