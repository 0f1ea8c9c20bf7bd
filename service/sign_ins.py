"""Signing in to the dashboard: how often it may be tried, what is compared, and what is written of it now and then."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from ledger import events, people, sessions, tenants
from ledger.database import Database
from ledger.errors import KeyRefused
from ledger.passwords import Passwords

BY_NAME, BY_ADDRESS, MINUTES = 10, 50, 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """Nobody was let in. wait_s: seconds until it may be tried again, None when it was simply wrong."""

    wait_s: int | None = None


class SignIns:
    """Counts attempts in memory, as every API process does by itself, and compares passwords one at a time.

    What is known of a name shows nowhere: not in the answer, not in the time that it takes, not in what is counted.
    """

    def __init__(self, passwords: Passwords | None = None) -> None:
        """`passwords` compares them; None: as RFC 9106 recommends."""
        self.passwords = passwords or Passwords()
        self._by_name = RateLimitItemPerMinute(BY_NAME, MINUTES)
        self._by_address = RateLimitItemPerMinute(BY_ADDRESS, MINUTES)
        self._counter = MovingWindowRateLimiter(MemoryStorage())
        self._lock = threading.Lock()
        self._used_at: dict[str, int] = {}
        self._refused: Counter[tuple[str, str]] = Counter()
        self._refused_unknown = 0

    def with_password(self, database: Database, name: str, password: str, address: str) -> str | Refused:
        """Return the token of a new session. `address` is where the attempt comes from."""
        who = hashlib.sha256(name.encode()).hexdigest()
        if (wait_s := self._too_often(who, address)) is not None:
            return Refused(wait_s)
        with database.read() as tx:
            person = people.find(tx, name)
            known = None if person is None or person.disabled_at is not None else person
            stored = None if known is None else known.password
            about = None if person is None else (person.tenant_id, person.id)
        if not self.passwords.fits(stored, password) or about is None:
            self._note_refusal(about)
            return Refused()
        with database.begin() as tx:
            person = people.get(tx, *about)
            if person.disabled_at is not None or person.password != stored:  # changed while we compared
                return Refused()
            token = sessions.begin_for_person(tx, person)
        self._counter.clear(self._by_name, who)
        return token

    def with_key(self, database: Database, secret: str, address: str) -> str | Refused:
        """Return the token of a new session that may do what the API key may: look, or change things."""
        if (wait_s := self._too_often(None, address)) is not None:
            return Refused(wait_s)
        try:
            with database.begin() as tx:
                key = tenants.authenticate(tx, secret)
                if sessions.role_of(key) is not None:
                    return sessions.begin_for_key(tx, key)
        except KeyRefused:
            pass
        self._note_refusal(None)
        return Refused()

    def used(self, session_id: str, at: int) -> None:
        """Note that a session was used at `at` (UTC microseconds). It only touches memory."""
        with self._lock:
            self._used_at[session_id] = at

    def tidy(self, database: Database) -> None:
        """Write what was noted and sweep. Raises what the database does; then it is kept for the next round."""
        with self._lock:
            used_at, self._used_at = self._used_at, {}
            refused, self._refused = self._refused, Counter()
            unknown, self._refused_unknown = self._refused_unknown, 0
        try:
            with database.begin() as tx:
                sessions.note_uses(tx, used_at)
                sessions.sweep(tx)
                for (tenant_id, person_id), count in sorted(refused.items()):
                    events.append(tx, tenant_id, "person.sign_in_refused", person_id, count=count)
        except BaseException:
            with self._lock:
                self._used_at = {**used_at, **self._used_at}
                self._refused += refused
                self._refused_unknown += unknown
            raise
        if refused or unknown:
            log.warning("sign_ins.refused", count=refused.total() + unknown, unknown=unknown)

    def _too_often(self, who: str | None, address: str) -> int | None:
        """Count an attempt; return how many seconds to wait if there were too many, else None."""
        pairs = [(self._by_address, address)] + ([] if who is None else [(self._by_name, who)])
        for item, of in pairs:
            if not self._counter.hit(item, of):
                return item.get_expiry()
        return None

    def _note_refusal(self, about: tuple[str, str] | None) -> None:
        with self._lock:
            if about is None:
                self._refused_unknown += 1
            else:
                self._refused[about] += 1
