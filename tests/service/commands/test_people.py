"""`lacuna people`: a person is let in, listed, given another password and let in no more."""

from __future__ import annotations

import getpass
import io
import json
import sys

import pytest
from support.command_line import Lacuna, Said

SECRET = "correct horse battery"


@pytest.fixture
def said_to(lacuna: Lacuna, monkeypatch: pytest.MonkeyPatch) -> Lacuna:
    """The command line over a new database, with the password on its standard input."""
    assert lacuna("db", "upgrade").status == 0
    assert lacuna("key", "create", "--label", "x", "--scope", "admin").status == 0  # makes the tenant

    def run(*arguments: str, secret: str = SECRET) -> Said:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{secret}\n"))
        said = lacuna(*arguments)
        assert secret not in said.out + said.err
        return said

    return run


def listed(said_to: Lacuna) -> list[dict[str, str]]:
    return list(json.loads(said_to("people", "list", "--json").out)["people"])


def test_a_person_comes_and_goes(said_to: Lacuna) -> None:
    added = said_to("people", "add", "olga", "--role", "admin")
    assert added.status == 0, added.err
    (olga,) = listed(said_to)
    assert (olga["name"], olga["role"], olga["state"]) == ("olga", "admin", "active")
    assert olga["id"] in added.out.replace("\n", "")
    assert "olga" in said_to("people", "list").out
    assert said_to("people", "disable", "olga").status == 0
    assert listed(said_to)[0]["state"] == "disabled"
    assert said_to("people", "password", "olga").status == 0
    assert listed(said_to)[0]["state"] == "active"


def test_what_cannot_be_is_refused(said_to: Lacuna) -> None:
    assert said_to("people", "add", "olga", "--role", "owner").status == 2
    assert said_to("people", "add", "olga", secret="short").status == 3
    assert said_to("people", "add", " ").status == 3
    assert said_to("people", "disable", "olga").status == 3
    assert said_to("people", "password", "olga").status == 3
    assert said_to("people", "add", "olga", "--tenant", "nobody").status == 3
    assert listed(said_to) == []


def test_at_a_terminal_it_asks_twice(said_to: Lacuna, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(io, "StringIO", Terminal)
    answers = iter([SECRET, SECRET, SECRET, SECRET + "x"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    assert said_to("people", "add", "olga").status == 0
    assert said_to("people", "add", "otto").status == 2
    assert [person["name"] for person in listed(said_to)] == ["olga"]
