"""What recordings cost: the constants without a record, what earlier runs took with one, whatever that says."""

from __future__ import annotations

import math
import random

import pytest

from lake.analysis.costs import (
    BYTE_BOUNDS,
    CONSTANTS,
    OPENING,
    OPENING_BOUNDS,
    OUTLIER,
    PIVOT_BYTES,
    Group,
    Load,
    Sums,
    group_of,
    learned,
    merged,
    of_rows,
    summed,
    to_rows,
)
from lake.analysis.plan import WorkItem, cut
from lake.model import BlobRef, MediaKind

SOUND = Group("audio by duration", "loudness+speech")
FILM = Group("video by duration", "keyframes")
MB = 1_000_000


def timings(seed: int, count: int, opening_s: float, byte_s: float) -> list[tuple[int, float]]:
    """Recordings from 1 kB to 100 MB that take what they should, give or take a third."""
    rng = random.Random(seed)
    sizes = [int(10 ** rng.uniform(3, 8)) for _ in range(count)]
    return [(size, (opening_s + byte_s * size) * math.exp(rng.gauss(0, 0.3))) for size in sizes]


def test_groups_do_not_depend_on_the_order_of_analyses() -> None:
    assert group_of("a", ("speech", "loudness")) == group_of("a", ("loudness", "speech"))


def test_without_a_record_the_constants_say() -> None:
    assert learned({}) == learned({SOUND: Sums()}) == learned({SOUND: summed([(MB, 0.0)])}) == CONSTANTS
    opening = OPENING * PIVOT_BYTES
    assert CONSTANTS.of(FILM, MB) == MB + opening
    assert CONSTANTS.of(SOUND, MB) == 0.4 * MB + opening
    assert CONSTANTS.of(Group("hologram", "x"), MB) == 0.1 * MB + opening


@pytest.mark.parametrize(("opening_s", "byte_s"), [(0.01, 1e-8), (0.1, 1e-8), (0.001, 3e-8)])
def test_what_many_recordings_took_is_learned(opening_s: float, byte_s: float) -> None:
    costs = learned({SOUND: summed(timings(1, 2000, opening_s, byte_s))})
    for size in (1000, 300_000, 100 * MB):
        assert costs.of(SOUND, size) == pytest.approx(opening_s + byte_s * size, rel=0.3)


def test_one_recording_moves_the_shape_little() -> None:
    """Of a group that was hardly seen, the constants' proportion of opening to bytes is kept."""
    line = learned({SOUND: summed([(100 * MB, 50.0)])}).line(SOUND)
    assert line.of(1, 100 * MB) == pytest.approx(50, rel=0.1)
    assert line.byte / line.opening == pytest.approx(0.4 / OPENING, rel=0.1)


def test_groups_that_were_not_seen_are_priced_in_the_same_seconds() -> None:
    """Audio took twice the constants' proportions: of video nothing else is known."""
    exact = [(size, 2e-8 * (OPENING * PIVOT_BYTES + 0.4 * size)) for size in range(1000, 10 * MB, 50_000)]
    costs = learned({SOUND: summed(exact)})
    assert costs.of(FILM, MB) == pytest.approx(2e-8 * (OPENING * PIVOT_BYTES + MB))


def test_an_odd_recording_counts_as_a_few_normal_ones() -> None:
    normal = [(100_000, 0.01)] * 200
    told = summed([*normal, (100, 86_400.0)])
    fair, hurt = (learned({SOUND: sums}).of(SOUND, 100_000) for sums in (summed(normal), told))
    assert hurt < fair * (1 + 2 * OUTLIER / 200)
    assert told.seconds > 86_000  # the record itself says what it was


def test_an_odd_group_does_not_move_the_others() -> None:
    sums = {SOUND: summed(timings(2, 500, 0.01, 1e-8)), FILM: summed([(100, 86_400.0)])}
    with_it, without = learned(sums), learned({SOUND: sums[SOUND]})
    assert with_it.of(SOUND, MB) == without.of(SOUND, MB)
    assert with_it.scale == without.scale
    assert with_it.of(FILM, MB) <= BYTE_BOUNDS[1] * OPENING_BOUNDS[1] * without.scale * CONSTANTS.of(
        FILM, MB
    )  # it took three million times that


def test_runs_are_added_up_in_any_order_and_come_back_from_their_rows() -> None:
    first, second = timings(3, 100, 0.01, 1e-8), timings(4, 50, 0.02, 1e-8)
    one, two = {SOUND: summed(first)}, {SOUND: summed(second), FILM: summed(second)}
    both = merged([one, two])
    assert both[SOUND].records == 150 and both[FILM] == two[FILM]
    assert both[SOUND].z == pytest.approx(merged([two, one])[SOUND].z)
    assert of_rows(to_rows(both)) == both


def test_much_is_worth_the_sum_of_its_parts() -> None:
    costs = learned({SOUND: summed(timings(5, 100, 0.01, 1e-8))})
    sizes = [1000, MB, 7 * MB]
    together = costs.total({SOUND: Load(3, 0, sum(sizes)), FILM: Load(1, 0, MB)})
    assert together == pytest.approx(sum(costs.of(SOUND, size) for size in sizes) + costs.of(FILM, MB))


def made_up(seed: int) -> list[tuple[WorkItem, float]]:
    """A wave, with what each recording really takes: a picture the same whatever its bytes, sound next to nothing.

    Small pictures come first, then large ones, then sound, as devices deliver them.
    """
    rng = random.Random(seed)
    made = []
    for number in range(2000):
        kind: MediaKind = "image" if number < 1000 else "audio"
        size = int((20_000 if number < 500 else 2 * MB) * math.exp(rng.gauss(0, 0.3)))
        took_s = (0.2 if kind == "image" else 0.001 + 1e-9 * size) * math.exp(rng.gauss(0, 0.2))
        ref = BlobRef(f"{number:064x}", size, "packs/a", number, size, "raw", 0, "")
        made.append((WorkItem(ref, kind, "", ("image_hash" if kind == "image" else "loudness",)), took_s))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_tasks_that_are_cut_by_learned_costs_are_better_balanced(seed: int) -> None:
    before: dict[Group, list[tuple[int, float]]] = {}
    for item, took_s in made_up(seed + 100):
        before.setdefault(item.group, []).append((item.ref.size_bytes, took_s))
    costs = learned({group: summed(found) for group, found in before.items()})
    wave = made_up(seed)
    took = {item.ref.sha256: took_s for item, took_s in wave}

    def longest_over_mean(tasks: list[list[WorkItem]]) -> float:
        lengths = [sum(took[item.ref.sha256] for item in task) for task in tasks]
        return max(lengths) / (sum(lengths) / len(lengths))

    items = [item for item, _ in wave]
    by_constants, by_record = longest_over_mean(cut(items, 4)), longest_over_mean(cut(items, 4, costs))
    assert by_record < 1.15
    assert by_constants > 2 * by_record
