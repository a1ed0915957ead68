"""Cutting a wave of arrivals into tasks: pure functions, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lake.model import Arrival
from lake.store.known import Known

PER_RECORD_BYTES = 64 * 1024
"""What opening, hashing and probing one recording costs beside its bytes, as bytes: balances small against large."""

MIN_TASK_RECORDS = 32
"""Below this a task is not worth its start."""


@dataclass(frozen=True)
class IngestTask:
    """One task of a wave: arrivals in packing order, and what is known of contents that are stored already."""

    arrivals: tuple[Arrival, ...]
    stored: frozenset[str]
    """Contents of their sizes that need not be stored again."""
    known: Known
    """Of more contents: which are surely new."""


def cost_bytes(arrival: Arrival) -> int:
    return arrival.size_bytes + PER_RECORD_BYTES


def packing_order(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Consecutive segments of one device side by side, in order of key (which names times)."""
    return sorted(arrivals, key=lambda a: (a.device_id or "", a.key))


def task_count(arrivals: int, total_cost_bytes: int, slots: int, task_bytes: int) -> int:
    """Tasks of a wave: two per slot, fewer of few recordings, more where one would cost over ``task_bytes``."""
    return max(1, min(2 * slots, arrivals // MIN_TASK_RECORDS), -(-total_cost_bytes // task_bytes))


def cut(arrivals: Sequence[Arrival], slots: int, task_bytes: int) -> list[list[Arrival]]:
    """Cut a wave into runs of neighbours of about equal cost: two per slot, none over ``task_bytes``.

    Recordings of equal size may be equal in content. Where such a group is small they go to one task, which then
    stores the content once without asking anyone; what is left is found at the commit.
    """
    ordered = packing_order(arrivals)
    total = sum(map(cost_bytes, ordered))
    tasks = task_count(len(ordered), total, slots, task_bytes)
    share = total / tasks
    together = _sizes_kept_together(ordered, share / 8)
    cuts: list[list[Arrival]] = []
    home_of: dict[int, int] = {}
    filled = 0.0
    for arrival in ordered:
        if not cuts or filled >= share:
            cuts.append([])
            filled = 0.0
        here = len(cuts) - 1
        home = home_of.setdefault(arrival.size_bytes, here) if arrival.size_bytes in together else here
        cuts[home].append(arrival)
        filled += cost_bytes(arrival)
    return sorted(cuts, key=lambda c: -sum(map(cost_bytes, c)))


def _sizes_kept_together(arrivals: Sequence[Arrival], limit_bytes: float) -> set[int]:
    """Sizes that occur more than once, where all recordings of that size together stay below ``limit_bytes``."""
    totals: dict[int, tuple[int, int]] = {}
    for arrival in arrivals:
        count, cost = totals.get(arrival.size_bytes, (0, 0))
        totals[arrival.size_bytes] = (count + 1, cost + cost_bytes(arrival))
    return {size for size, (count, cost) in totals.items() if count > 1 and cost <= limit_bytes}
