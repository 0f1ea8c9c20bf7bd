"""The sample of a replay: fixed by checkpoint and challenge, another for each, and fair."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from workers.replay.drawing import draw, seed_of

NAMES = [f"{i:032x}" for i in range(40)]
COUNT = 5
SEEDS = 2_000


def note(size: int, signature: str = "one") -> str:
    return f"lacuna/test\n{size}\nroot{size}\n\n\u2014 lacuna/test {signature}\n"


def test_the_same_checkpoint_draws_the_same_and_another_draws_others() -> None:
    first = draw(seed_of(note(7), ""), "request", NAMES, COUNT)
    assert first == draw(seed_of(note(7), ""), "request", list(reversed(NAMES)), COUNT)
    assert first == draw(seed_of(note(7, "another"), ""), "request", NAMES, COUNT), "signatures can be made at will"
    others = [draw(seed_of(note(8), ""), "request", NAMES, COUNT), draw(seed_of(note(7), "x"), "request", NAMES, COUNT)]
    others.append(draw(seed_of(note(7), ""), "shard", NAMES, COUNT))
    assert all(set(other) != set(first) for other in others)


@pytest.mark.parametrize("count", [0, 1, 39, 40, 41])
def test_at_most_so_many_and_nobody_twice(count: int) -> None:
    drawn = draw(seed_of(note(1), ""), "request", NAMES, count)
    assert len(drawn) == len(set(drawn)) == min(count, len(NAMES))


def test_over_many_checkpoints_everyone_is_drawn_equally_often() -> None:
    """Each of 40 is drawn with probability 1/8, 2,000 times: 250 times, with a standard deviation of 14.8.

    Somebody who is spared half of the times (125) stands 8.4 deviations out, and somebody who is never drawn 16.9. The
    limit is 6: for a fair draw all 40 stay within it but with probability 8e-8, and a spared one is found but with
    probability 1e-2 at most, since 8.4 - 6 = 2.4 deviations lie between.
    """
    drawn = Counter(name for i in range(SEEDS) for name in draw(seed_of(note(i), ""), "request", NAMES, COUNT))
    share = COUNT / len(NAMES)
    deviation = math.sqrt(SEEDS * share * (1 - share))
    assert 8 * deviation < SEEDS * share / 2  # so sparing somebody half of the times would show
    assert set(drawn) == set(NAMES)
    assert max(abs(drawn[name] - SEEDS * share) for name in NAMES) < 6 * deviation
