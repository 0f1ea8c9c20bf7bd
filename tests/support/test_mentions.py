"""The helper that looks for names."""

from __future__ import annotations

import pytest

from support.mentions import mentions


@pytest.mark.parametrize("text", ["ada", "for ada.", '{"who":"ada"}', b"ask ada@example.org", "subject_ada", "ada\n"])
def test_a_name_is_found(text: str | bytes) -> None:
    assert mentions(text, "ada")


@pytest.mark.parametrize("text", ["", "33c8ada7b2e71873", "ada7", "Canada", b"Ada"])
def test_other_words_are_not(text: str | bytes) -> None:
    assert not mentions(text, "ada")
