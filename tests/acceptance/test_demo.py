"""The demo is run for real, in its short form; its checks are shown to notice what is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from service.demo.answers import Answers
from service.demo.claims import Claim, claims_about, tell
from service.demo.data import CORE, PEOPLE, TEST, load_data
from service.demo.forgetting import Certified, Forgotten, Measured, Wish
from service.demo.never_saw import Comparison

TIMEOUT_S = 280


@pytest.mark.acceptance
@pytest.mark.slow
def test_the_short_demo_holds_all_its_claims(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "demo", "--core", "--json", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    assert [one["wish"] for one in facts["forgotten"]] == ["person-017"]
    assert len(facts["claims"]) >= 8
    assert all(claim["holds"] for claim in facts["claims"])
    assert (tmp_path / "certificate-person-017.json").exists()
    assert "claims hold" in done.stderr


def test_the_digits_are_given_out_once() -> None:
    data = load_data()
    assert (len(data.core), len(data.test)) == (CORE, TEST)
    ids = np.concatenate([part.ids for part in (data.core, data.test, data.users)])
    assert len(set(ids)) == len(ids) == 1797
    people, counts = np.unique(data.users.subjects, return_counts=True)
    assert len(people) == PEOPLE
    assert counts.min() >= 2
    assert np.array_equal(load_data().users.subjects, data.users.subjects)


ANSWERS = Answers(np.array([1]), np.array([[0.25, 0.75]]), frozenset({2}))
OTHERS = Answers(np.array([1]), np.array([[0.25, np.nextafter(0.75, 1.0)]]), frozenset({2}))
BEFORE = Measured(ANSWERS, 0.9, 1.0, 1.0)
AFTER = Measured(ANSWERS, 0.8, 0.0, 1.0)
DONE = Forgotten(
    wish=Wish("every 6", label=6),
    records=3,
    version=2,
    seconds=0.5,
    weights_seconds=0.1,
    before=BEFORE,
    after=AFTER,
    certificate=Certified(True, 0.0, 0.0, Path("certificate.json")),
    late_versions=frozenset({2}),
    answered=5,
    refused=0,
)
SAME = Comparison(equal=True, differed_before=True, public_equal=True, measured=AFTER, seconds=5.0)


def test_claims_hold_when_everything_is_right() -> None:
    assert all(claim.holds for claim in claims_about(DONE, SAME))


@pytest.mark.parametrize(
    ("done", "comparison", "broken"),
    [
        (DONE, replace(SAME, equal=False), "byte for byte"),
        (DONE, replace(SAME, public_equal=False), "byte for byte"),
        (DONE, replace(SAME, differed_before=False), "were different"),
        (DONE, replace(SAME, measured=replace(AFTER, test_answers=OTHERS)), "to the last bit"),
        (DONE, replace(SAME, measured=replace(AFTER, test=0.81)), "same accuracy"),
        (replace(DONE, certificate=replace(DONE.certificate, valid=False)), SAME, "signature"),
        (replace(DONE, certificate=replace(DONE.certificate, output_nats=1e-9)), SAME, "0 nats"),
        (replace(DONE, certificate=replace(DONE.certificate, state_nats=1e-9)), SAME, "0 nats"),
        (replace(DONE, late_versions=frozenset({1, 2})), SAME, "older version"),
        (replace(DONE, late_versions=frozenset()), SAME, "older version"),
        (replace(DONE, after=replace(AFTER, forgotten=0.5)), SAME, "no longer recognised"),
        (replace(DONE, before=replace(BEFORE, forgotten=0.05)), SAME, "no longer recognised"),
    ],
)
def test_each_claim_fails_alone(done: Forgotten, comparison: Comparison, broken: str) -> None:
    failed = [claim.words for claim in claims_about(done, comparison) if not claim.holds]
    assert len(failed) == 1
    assert broken in failed[0]


def test_a_failed_claim_is_shouted() -> None:
    said = io.StringIO()
    tell(Console(file=said, width=100), [Claim("two and two are four", True), Claim("they are five", False)])
    assert "FAILED  they are five" in said.getvalue()
    assert "1 of 2 claims hold" in said.getvalue()
