"""The service answers what its OpenAPI description says and nothing else: schemathesis asks every address.

The short form of `python -m benchmarks.fuzz_api`. What it sends follows from a fixed seed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fuzzed import fuzzed_service
from support.fuzzing import fuzz


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_answer_is_an_error_of_ours_or_missing_in_the_description(tmp_path: Path) -> None:
    """With a key, which schemathesis leaves out now and then; in sequences too, which use ids of earlier answers."""
    with fuzzed_service(tmp_path) as service:
        found = fuzz(service.url, service.key, seed=1, examples=2, sequences=4, on_refused=service.revive_key)
    assert found.told() == ""
    assert found.operations() == found.described
    answered = found.statuses()
    assert answered[200] > 20, answered  # it was not all refused
    assert {201, 202, 401, 404, 409, 422} <= set(answered)
