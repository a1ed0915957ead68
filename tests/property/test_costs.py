"""Whatever earlier runs recorded, what is predicted from it is a positive, finite number that grows with the size."""

from __future__ import annotations

import math
import random

import pytest

from lake.analysis.costs import COST_FACTOR, Group, Sums, learned, merged, summed

SIZES = [0, 1, 1000, 10**6, 10**9, 10**13]


def random_sums(rng: random.Random) -> Sums:
    """Of a group of a kind that a test would not think of: one size, one record, no time at all, wild times."""
    count = rng.choice([1, 2, 3, 10, 500])
    size = rng.choice([None, 0, 1000, 10**10])
    times = rng.choice([[0.0], [1e-9], [0.01, 0.02], [1e-6, 120.0], [math.inf, 1.0], [math.nan, 1.0], [-1.0, 1.0]])
    return summed([(int(10 ** rng.uniform(0, 10)) if size is None else size, rng.choice(times)) for _ in range(count)])


@pytest.mark.parametrize("seed", range(300))
def test_costs_are_positive_and_grow_with_the_size(seed: int) -> None:
    rng = random.Random(seed)
    kinds = rng.sample(list(COST_FACTOR), rng.randint(1, 4))
    runs = [{Group(kind, "a"): random_sums(rng) for kind in kinds} for _ in range(rng.randint(1, 3))]
    costs = learned(merged(runs))
    for kind in COST_FACTOR:
        prices = [costs.of(Group(kind, "a"), size) for size in SIZES]
        assert prices == sorted(prices)
        assert all(math.isfinite(price) for price in prices)
        assert prices[0] > 0


@pytest.mark.parametrize("seed", range(50))
def test_the_same_record_gives_the_same_costs(seed: int) -> None:
    sums = {Group("audio", "a"): random_sums(random.Random(seed)), Group("video", "b"): summed([(1000, 0.1)] * 3)}
    again = dict(reversed(sums.items()))
    assert learned(sums) == learned(again)


@pytest.mark.parametrize("seed", range(50))
def test_the_line_of_many_recordings_is_found(seed: int) -> None:
    rng = random.Random(seed)
    opening_s, byte_s = 10 ** rng.uniform(-3, -1), 10 ** rng.uniform(-9, -7)
    found = [(size, opening_s + byte_s * size) for size in (int(10 ** rng.uniform(3, 8)) for _ in range(3000))]
    group = Group("video", "a")
    line = learned({group: summed(found)}).line(group)
    assert line.of(1, 10**8) == pytest.approx(opening_s + byte_s * 10**8, rel=0.3)
