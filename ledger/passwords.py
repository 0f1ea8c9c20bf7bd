"""People's passwords: Argon2id, the parameters and the salt beside the hash.

Source: RFC 9106, section 4, second recommended option (64 MiB, 3 passes), which is the default of argon2-cffi.
"""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from ledger.errors import PasswordRefused

SHORTEST, LONGEST = 12, 1000


class Passwords:
    """Hashes and compares, one at a time: each takes 64 MiB, and a flood of attempts must not take them all at once."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        """`hasher`: with which parameters new hashes are made; None: those of RFC 9106."""
        self._hasher = hasher or PasswordHasher()
        self._turn = threading.Lock()
        self._nobodys: str | None = None

    def hash(self, password: str) -> str:
        """Return what is stored. Raises PasswordRefused: too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise PasswordRefused(SHORTEST, LONGEST)
        with self._turn:
            return self._hasher.hash(password)

    def fits(self, stored: str | None, password: str) -> bool:
        """Whether this is the password. Without a stored one it is no, after the same work as for a wrong one."""
        with self._turn:
            if self._nobodys is None:  # for known names too, so that the first attempt tells nothing either
                self._nobodys = self._hasher.hash("nobody's password")
            try:
                right = self._hasher.verify(
                    self._nobodys if stored is None else stored, password if len(password) <= LONGEST else ""
                )
            except VerifyMismatchError:
                return False
            return right and stored is not None
