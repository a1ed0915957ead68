"""How the work of an analyze run is cut: balanced, dearest first, and a long recording over the cores that idle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lake.analysis.costs import CONSTANTS
from lake.analysis.plan import WorkItem, by_device, cut, waves
from lake.model import BlobRef, MediaKind


def item(number: int, size_bytes: int, kind: MediaKind = "video") -> WorkItem:
    ref = BlobRef(f"{number:064x}", size_bytes, "packs/a", number, size_bytes, "raw", 0, "")
    return WorkItem(ref, kind, "", ("keyframes",))


def threads_of(items: list[WorkItem], slots: int) -> dict[int, int]:
    return {each.ref.offset: each.threads for task in cut(items, slots) for each in task}


def test_every_item_is_in_one_task_and_the_dearest_task_is_first() -> None:
    items = [item(number, 1_000_000 * (1 + number % 7)) for number in range(50)]
    tasks = cut(items, 2)
    assert sorted(each.ref.offset for task in tasks for each in task) == list(range(50))
    costs = [sum(CONSTANTS.of(each.group, each.ref.size_bytes) for each in task) for task in tasks]
    assert costs == sorted(costs, reverse=True)
    assert 4 <= len(tasks) <= 10


@pytest.mark.parametrize(
    ("sizes", "slots", "threads"),
    [
        ([10**9], 2, [2]),
        ([10**9], 8, [8]),
        ([10**9, 10**9], 2, [1, 1]),
        ([10**9, 10**6, 10**6], 2, [2, 1, 1]),
        ([10**9, 10**9, 10**9], 8, [3, 3, 3]),
        ([10**6] * 4, 2, [1, 1, 1, 1]),
    ],
)
def test_a_recording_may_use_as_many_cores_as_it_is_shares(sizes: list[int], slots: int, threads: list[int]) -> None:
    found = threads_of([item(number, size) for number, size in enumerate(sizes)], slots)
    assert [found[number] for number in range(len(sizes))] == threads


def test_waves_end_at_items_and_at_bytes() -> None:
    made = list(waves([item(number, 100) for number in range(10)], 4, 10**9))
    assert [len(wave) for wave in made] == [4, 4, 2]
    assert [len(wave) for wave in waves([item(number, 100) for number in range(5)], 10, 250)] == [2, 2, 1]


def test_recordings_of_which_an_analysis_computes_on_a_gpu_are_told_from_the_others() -> None:
    films = [replace(item(number, 10), analyses=names) for number, names in enumerate([("a",), ("a", "b"), ("c",)])]
    assert by_device(films, {"b", "z"}) == ([films[1]], [films[0], films[2]])
    assert by_device(films, frozenset()) == ([], films)
