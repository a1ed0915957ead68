"""Cutting waves into tasks, and the rows a wave adds: pure functions, no store and no JVM."""

from __future__ import annotations

import random
from datetime import UTC, datetime

from lake.ingest.commit import RunFacts, wave_rows
from lake.ingest.discover import waves
from lake.ingest.plan import cost_bytes, cut
from lake.ingest.worker import Landing
from lake.model import Arrival, BlobRef, Failure, Sniffed
from lake.store.blobs import StoredBlob

FACTS = RunFacts("run", datetime(2026, 1, 1, tzinfo=UTC), {})


def arrival(key: str, size_bytes: int = 10) -> Arrival:
    return Arrival("file:///in", key, "v1", size_bytes)


def ref(sha256: str) -> BlobRef:
    return BlobRef(sha256, 10, "packs/p", 0, 10, "raw", 1, "text/plain")


def landing(key: str, sha256: str | None, stored: bool, failure: Failure | None = None) -> Landing:
    return Landing(
        arrival(key),
        sha256,
        10 if sha256 else None,
        ref(sha256) if sha256 and stored else None,
        Sniffed("text/plain", "document"),
        None,
        failure,
    )


def test_cut_keeps_every_arrival_once_and_balances() -> None:
    draw = random.Random(3)
    arrivals = [arrival(f"{n:05}", int(draw.lognormvariate(9, 2))) for n in range(3000)]
    tasks = cut(arrivals, slots=4, task_bytes=10**12)
    assert sorted(a.key for task in tasks for a in task) == [a.key for a in arrivals]
    costs = [sum(map(cost_bytes, task)) for task in tasks]
    assert len(tasks) == 8
    assert costs == sorted(costs, reverse=True)
    assert max(costs) < 2 * sum(costs) / len(costs) + max(map(cost_bytes, arrivals))


def test_cut_sends_recordings_of_equal_size_to_one_task() -> None:
    arrivals = [arrival(f"{n:05}", 1000 + n) for n in range(1000)]
    arrivals += [arrival("00000-twin", 1500), arrival("zzz-twin", 1500)]
    (home,) = {number for number, t in enumerate(cut(arrivals, 2, 10**12)) if any(a.size_bytes == 1500 for a in t)}
    assert home >= 0


def test_cut_spreads_a_device_whose_segments_are_all_of_one_size() -> None:
    tasks = cut([arrival(f"{n:05}", 320_044) for n in range(1000)], 2, 10**12)
    assert len(tasks) == 4


def test_cut_makes_tasks_no_larger_than_a_pack() -> None:
    tasks = cut([arrival(f"{n:05}", 1_000_000) for n in range(100)], slots=1, task_bytes=10_000_000)
    assert all(sum(a.size_bytes for a in task) <= 12_000_000 for task in tasks)


def test_waves_are_bounded_in_count_and_in_bytes() -> None:
    arrivals = [arrival(f"{n:05}", 10) for n in range(25)]
    assert [len(w) for w in waves(iter(arrivals), 10, 10**9)] == [10, 10, 5]
    assert [len(w) for w in waves(iter(arrivals), 1000, 100)] == [10, 10, 5]
    assert [len(w) for w in waves(iter([arrival("a", 500)]), 10, 100)] == [1]


def test_the_first_of_two_twins_lands_and_the_second_is_a_duplicate() -> None:
    rows = wave_rows([landing("a", "s1", True), landing("b", "s1", True)], {}, set(), set(), FACTS)
    assert [r["state"] for r in rows.arrivals] == ["landed", "duplicate"]
    assert len(rows.blobs) == 1
    assert len(rows.assets) == 2


def test_a_killed_run_takes_up_what_it_had_committed() -> None:
    """The blob and the asset were committed, the arrival was not: it lands, and nothing is written twice."""
    mine = landing("a", "s1", False)
    stored = {"s1": StoredBlob(ref("s1"), mine.arrival.arrival_id)}
    first = wave_rows([landing("a", "s1", True)], {}, set(), set(), FACTS)
    rows = wave_rows([mine], stored, {first.assets[0]["asset_id"]}, set(), FACTS)
    assert [r["state"] for r in rows.arrivals] == ["landed"]
    assert rows.blobs == []
    assert rows.assets == []


def test_a_quarantined_arrival_keeps_its_bytes_and_has_one_reason() -> None:
    bad = landing("a", "s1", True, Failure("Damaged", "cut off"))
    rows = wave_rows([bad], {}, set(), set(), FACTS)
    assert [r["state"] for r in rows.arrivals] == ["quarantined"]
    assert (len(rows.blobs), len(rows.assets), len(rows.quarantine)) == (1, 1, 1)
    again = wave_rows([bad], {}, set(), {bad.arrival.arrival_id}, FACTS)
    assert again.quarantine == []


def test_what_could_not_be_read_has_a_reason_and_no_asset() -> None:
    rows = wave_rows([landing("a", None, False, Failure("Unreadable", "gone"))], {}, set(), set(), FACTS)
    assert (len(rows.assets), len(rows.quarantine)) == (0, 1)
    assert rows.arrivals[0]["sha256"] is None
