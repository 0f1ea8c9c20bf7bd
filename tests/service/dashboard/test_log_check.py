"""The log recomputed in front of the visitor: rows that were really changed, and the row named."""

from __future__ import annotations

import threading

import pytest
from support.pages import Page, page
from support.site import Site
from support.told import without_triggers
from support.waiting import wait_until

from ledger import events
from ledger.errors import StoreFailed
from ledger.log.sequencer import sequence
from ledger.log.verify import Verified
from service.dashboard import log_check

ENTRIES = 300


@pytest.fixture
def logged(site: Site) -> Site:
    """A site whose log holds more than one tile."""
    ledger = site.world.ledger
    with ledger.database.begin() as tx:
        for i in range(ENTRIES):
            events.append(tx, site.world.tenant_id, "test.happened", f"{i:032x}", number=i)
    sequence(ledger.database, ledger.ring)
    return site


def check(site: Site) -> Page:
    return page(site, "/dashboard/log/check")


def failed(shown: Page) -> list[str]:
    return [step.partition(":")[0] for step in shown.text("step") if ": FAILED" in step]


def test_a_whole_log_is_green(logged: Site) -> None:
    answer = logged.client.get("/dashboard/log/check")
    shown = Page(answer.text)
    assert "The log is whole : 3" in shown.text("outcome")[0]
    assert failed(shown) == []
    assert len(shown.text("step")) == 5
    assert 'class="card green"' in answer.text
    assert "100% of the entries recomputed" in answer.text
    assert answer.text.rstrip().endswith("</html>")


@pytest.mark.parametrize(
    ("tamper", "step", "words"),
    [
        ("UPDATE events SET body = x'7b7d' WHERE id = 7", "events", "event 7, entry 6, was edited"),
        ("UPDATE events SET subject = 'somebody else' WHERE id = 7", "events", "its column subject is not"),
        ("DELETE FROM events WHERE id = 7", "events", "event 7, entry 6 of the log, was deleted"),
        ("DELETE FROM leaves WHERE position = 9", "order", "entries 9 to 9 of the log were deleted"),
        ("UPDATE log_nodes SET hash = zeroblob(32)", "tree", "node 0 of level 8 does not fit"),
        ("UPDATE log_checkpoints SET size = size + 1", "signatures", "was edited"),
        ("UPDATE log_state SET size = size - 1", "places", "the log's state says"),
    ],
)
def test_tampering_is_red_and_names_the_row(logged: Site, tamper: str, step: str, words: str) -> None:
    without_triggers(logged, tamper)
    answer = logged.client.get("/dashboard/log/check")
    shown = Page(answer.text)
    assert "TAMPERED WITH" in shown.text("outcome")[0]
    assert 'class="card red"' in answer.text
    assert step in failed(shown)
    assert any(words in finding for finding in shown.text("finding")), shown.text("finding")
    if "event 7" in words:
        assert "/dashboard/log/proof?event=7" in shown.links


def test_the_proof_of_an_edited_event_fails_in_red(logged: Site) -> None:
    without_triggers(logged, """UPDATE events SET body = CAST(replace(body, '"v":1', '"v":2') AS BLOB) WHERE id = 7""")
    shown = page(logged, "/dashboard/log/proof?event=7")
    assert "NOT PROVED" in shown.text("proof")[0]
    assert "the log holds" in shown.text("leaf")[0]


def test_every_finding_has_its_step() -> None:
    said = [
        "checkpoint 8 was edited: x", "checkpoint 8 does not fit: x", "checkpoint 8 speaks of 8 entries",
        "no checkpoint speaks of entries 0 to 1", "entries 0 to 1 of the log were deleted",
        "event 3, entry 2, was edited: x", "entry 2 does not have the hash of its event 3",
        "node 0 of level 8 stands for entries that do not exist", "the log's state says 3 entries",
        "event 3 has no place in the log though later ones have: it was inserted",
    ]  # fmt: skip
    steps = log_check.sorted_out(Verified(3, 0, 1, said)).steps
    assert {step.name: len(step.findings) for step in steps} == {
        "signatures": 1, "events": 2, "order": 4, "tree": 1, "places": 2,
    }  # fmt: skip


def test_one_check_at_a_time_and_nobody_else_waits(logged: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(*_: object, **__: object) -> Verified:
        begun.set()
        assert go_on.wait(30)
        return Verified(3, 0, 1, [])

    monkeypatch.setattr(log_check, "verify_log", slowly)
    first: list[str] = []
    thread = threading.Thread(target=lambda: first.append(logged.client.get("/dashboard/log/check").text))
    thread.start()
    try:
        assert begun.wait(30)
        assert "another check is going on" in check(logged).text("outcome")[0]
        assert page(logged, "/dashboard/log").text("checkpoint")
    finally:
        go_on.set()
        thread.join(30)
    wait_until(lambda: first, 30, "the first check to end")
    assert "The log is whole" in first[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("raised", "words"),
    [(StoreFailed("x"), "the database does not answer"), (ZeroDivisionError(), "it ended unexpectedly")],
)
def test_a_check_that_breaks_says_so(
    logged: Site, monkeypatch: pytest.MonkeyPatch, raised: Exception, words: str
) -> None:
    def breaks(*_: object, **__: object) -> Verified:
        raise raised

    monkeypatch.setattr(log_check, "verify_log", breaks)
    monkeypatch.setattr(log_check, "PATIENCE_S", 0.02)
    assert words in check(logged).text("outcome")[0]
    monkeypatch.undo()
    assert "The log is whole" in check(logged).text("outcome")[0]  # the turn was given back
