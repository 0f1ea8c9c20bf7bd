"""Identifiers: one person, one set of HMACs, however it is spelled; and no identifier in any message."""

import hashlib
import hmac
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidIdentifier, KeyUnavailable
from ledger.identity import FORMATS, LARGEST, AliasHasher, normalise

KEY = bytes(range(32))
HASHER = AliasHasher(KEY)
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=60).filter(str.strip)


def _hash(format: str, value: str) -> str:
    return hashlib.new(format, value.encode(), usedforsecurity=False).hexdigest()


def test_the_hmac_is_the_documented_one() -> None:
    """Recomputed by hand: the layout must not change under stored aliases."""
    parts = [b"lacuna/alias/1", b"email", b"sha256", _hash("sha256", "anna@example.org").encode()]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    alias = HASHER.lookup("email", "raw", "anna@example.org")
    assert alias != HASHER.lookup("email", "sha256", _hash("sha256", "anna@example.org"))
    stored = {a.format: a.hmac for a in HASHER.aliases("email", "anna@example.org")}
    assert stored["sha256"] == hmac.new(KEY, message, "sha256").digest()
    assert list(stored) == list(FORMATS) == ["raw", "md5", "sha1", "sha256"]


@given(value=TEXT)
def test_a_request_in_any_format_finds_the_stored_alias(value: str) -> None:
    for type_ in ("email", "customer_id"):
        stored = {alias.format: alias for alias in HASHER.aliases(type_, value)}
        assert HASHER.lookup(type_, "raw", f"  {value}\t") == stored["raw"]
        for format_ in ("md5", "sha1", "sha256"):
            digest = _hash(format_, normalise(type_, value))
            assert HASHER.lookup(type_, format_, digest) == stored[format_]
            assert HASHER.lookup(type_, format_, digest.upper() + "\n") == stored[format_]


@given(value=TEXT)
def test_normalising_twice_changes_nothing_and_spelling_does_not_matter(value: str) -> None:
    for type_ in ("email", "customer_id"):
        once = normalise(type_, value)
        assert normalise(type_, once) == once
        assert normalise(type_, unicodedata.normalize("NFD", value)) == once
        assert normalise(type_, f" {value} ") == once


def test_only_e_mail_is_case_folded() -> None:
    assert normalise("email", "  Änna@Example.ORG ") == "änna@example.org"
    assert normalise("email", "A\u0308nna@Example.ORG") == "änna@example.org"
    assert normalise("customer_id", " Ab ") == "Ab"
    assert HASHER.lookup(" EMAIL ", "raw", "a@b.c") == HASHER.lookup("email", "raw", "A@B.C")


@given(st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=6, unique=True))
def test_record_keys_differ_unless_cohort_and_id_are_equal(pairs: list[tuple[str, str]]) -> None:
    normal = {(cohort, normalise("customer_id", external)) for cohort, external in pairs}
    assert len({HASHER.record_key(cohort, external) for cohort, external in pairs}) == len(normal)


def test_parts_cannot_run_into_each_other() -> None:
    assert HASHER.record_key("ab", "c") != HASHER.record_key("a", "bc")
    assert HASHER.record_key("a", "b") == HASHER.record_key("a", " b ")
    assert HASHER.lookup("ab", "raw", "c") != HASHER.lookup("a", "raw", "bc")


def test_another_type_or_key_gives_other_aliases() -> None:
    mine = HASHER.aliases("email", "a@b.c")
    assert len({alias.hmac for alias in mine}) == 4
    assert not {a.hmac for a in mine} & {a.hmac for a in HASHER.aliases("phone", "a@b.c")}
    assert not {a.hmac for a in mine} & {a.hmac for a in AliasHasher(KEY[::-1]).aliases("email", "a@b.c")}
    with pytest.raises(KeyUnavailable, match="31 bytes"):
        AliasHasher(KEY[:31])


BAD = [
    ("email", "raw", "", "empty"),
    ("email", "raw", " \t\n", "empty"),
    ("email", "raw", "x" * (LARGEST + 1), "longer"),
    ("email", "raw", "é" * (LARGEST // 2 + 1), "longer"),
    ("email", "raw", "secret\x00tail", "control"),
    ("email", "raw", "secret\u2028tail", "control"),
    ("email", "raw", "secret\ud800", "control"),
    (
        "email",
        "raw",
        "ŉ" * (LARGEST // 2),
        "longer",
    ),  # exactly the limit, until case-folding makes two characters of one
    ("email", "md5", "secret", "32 hex"),
    ("email", "sha1", "0" * 39, "40 hex"),
    ("email", "sha256", "g" * 64, "64 hex"),
    ("email", "sha256", "\uff11" * 64, "64 hex"),  # full-width digits
    ("email", "sha512", "0" * 128, "none of"),
    ("", "raw", "secret", "type"),
    ("type with spaces", "raw", "secret", "type"),
    ("t" * 65, "raw", "secret", "type"),
    ("émail", "raw", "secret", "type"),
]


@pytest.mark.parametrize(("type_", "format_", "value", "why"), BAD)
def test_malformed_identifiers_are_refused_without_being_repeated(
    type_: str, format_: str, value: str, why: str
) -> None:
    with pytest.raises(InvalidIdentifier, match=why) as caught:
        HASHER.lookup(type_, format_, value)
    if value.strip():
        assert value not in str(caught.value)
        assert "secret" not in str(caught.value)
    if format_ == "raw":
        with pytest.raises(InvalidIdentifier):
            HASHER.aliases(type_, value)


@given(type_=st.text(max_size=20), format_=st.sampled_from([*FORMATS, "other"]), value=st.text(max_size=80))
def test_anything_at_all_is_found_or_refused(type_: str, format_: str, value: str) -> None:
    try:
        alias = HASHER.lookup(type_, format_, value)
    except InvalidIdentifier:
        return
    assert len(alias.hmac) == 32
    assert repr(alias.hmac) not in repr(alias)


def test_the_largest_identifier_is_accepted() -> None:
    assert len(HASHER.aliases("email", "x" * LARGEST)) == 4
    assert len(HASHER.record_key("c", "x" * LARGEST)) == 32
