"""Part ``scale``: what single operations cost in lakes of 1, 3 and 10 million recordings (rows only)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.context import Job
from lake.catalog.maintain import maintain_tables
from lake.catalog.query import local_sql
from lake.catalog.read import find_blob
from lake.ingest.discover import known_versions
from lake.store.lookup import rows_with, stored_contents
from lake.store.stat import stat
from tests.bench import process
from tests.bench.deliveries import deliver
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table
from tests.bench.synthetic import DEVICES, MAX_BYTES, MIN_BYTES, START_US, Synthetic

NEW = 1_000
COPIES = 20
ROUNDS_OF_CALLS = 5
AT_MOST = 1.2
TEXT = f"""Rows of `blobs`, `assets` and `arrivals` are made by number and committed by the code that `lake maintain`
sorts tables with, then `lake maintain`'s part for tables runs once; there are no packs behind the rows. Verbs are whole
processes, medians of {{repeats}}; calls are functions in one process with the tables opened anew each time, medians of
{ROUNDS_OF_CALLS} times {{repeats}}. The sizes take turns, so that all of them see the same noise; where
others work on the machine meanwhile, CPU seconds say more than time. The new arrivals are
{NEW:,} WAV files of {(MIN_BYTES + MAX_BYTES) // 2048} KiB on average, whose sizes tens of thousands of rows have.
*Touched* are data files and row groups that a look-up reads after statistics and filters, of those there are.

What is left that grows: each data file of 128 MB adds one or two milliseconds to each opening of its table, which shows
in calls of less than 0.1 s; copies of stored contents cost the row group that each lies in, as long as there are more
row groups than copies; `store stat` of a lake with packs reads the footer of each pack besides. `lake maintain` itself
reads and sorts whole tables, up to 4 GiB each (some 35 million recordings); larger ones it does not sort."""
TABLES = ("blobs", "assets", "arrivals")
INGEST, AGAIN = f"`lake ingest`, {NEW:,} new arrivals", f"`lake ingest` again, no change among {NEW:,}"
STAT, ONE, HOUR = "`lake store stat`", "look-up of one sha256", "an hour of one device"
PROMISED = (INGEST, AGAIN, STAT, ONE, HOUR)
"""The operations that have a goal; the others are parts of them, or show what they do not."""


Cost = tuple[float, float]
"""Seconds that passed, and seconds of all cores."""


@dataclass
class Filled:
    """One lake of synthetic rows."""

    job: Job
    rows: Synthetic
    filled_s: float
    maintained_s: float

    @cached_property
    def draw(self) -> random.Random:
        return random.Random(self.rows.objects)

    def stored(self, count: int) -> list[str]:
        """Checksums of some contents that are there."""
        numbers = np.array([self.draw.randrange(self.rows.objects) for _ in range(count)], np.uint64)
        found: list[str] = self.rows.sha256(numbers).to_pylist()
        return found

    def new(self, count: int) -> list[str]:
        return [f"{self.draw.getrandbits(256):064x}" for _ in range(count)]


def measure(place: Place) -> Section:
    lakes = [_filled(place, objects) for objects in place.sizes]
    times: dict[str, list[list[Cost]]] = {}
    for number in range(place.repeats):
        delivery = deliver(
            place.scratch / f"new-{number}", NEW, number, mean_bytes=(MIN_BYTES + MAX_BYTES) // 2, prefix=f"new{number}"
        )
        for at, filled in enumerate(lakes):
            for name, cost in _one_round(filled, delivery):
                times.setdefault(name, [[] for _ in lakes])[at].append(cost)
    wall, cpu = (
        {name: [median(cost[kind] for cost in each) for each in found] for name, found in times.items()}
        for kind in (0, 1)
    )
    few, many = place.sizes[0], place.sizes[-1]
    figures = [
        Figure(f"{name}: {what} at {many:,} over {few:,}", found[name][-1] / found[name][0], at_most=AT_MOST)
        for name in PROMISED
        for what, found in (("time", wall), ("CPU", cpu))
    ]
    sizes = [f"{objects:,}" for objects in place.sizes]
    tables = [
        table(("time, s", *sizes, "last over first"), _rows(wall)),
        table(("CPU, s", *sizes, "last over first"), _rows(cpu)),
        table(("touched: files, row groups", *sizes), _touched(lakes)),
        table(("index", *sizes), _sizes(lakes)),
    ]
    return Section("scale", "The index at millions of recordings", TEXT.format(repeats=place.repeats), figures, tables)


def _rows(medians: dict[str, list[float]]) -> list[tuple[str, ...]]:
    return [
        (name, *(f"{seconds:.3f}" for seconds in each), f"{each[-1] / each[0]:.2f}") for name, each in medians.items()
    ]


def _filled(place: Place, objects: int) -> Filled:
    job, rows = place.empty_lake(f"scale-{objects}"), Synthetic(objects)
    started = time.perf_counter()
    rows.fill(job.tables)
    filled_s = time.perf_counter() - started
    maintain_tables(job.tables, 168)
    return Filled(job, rows, filled_s, time.perf_counter() - started - filled_s)


def _one_round(filled: Filled, delivery: Path) -> list[tuple[str, Cost]]:
    root = filled.job.settings.root
    first, again = ingest(root, delivery), ingest(root, delivery)
    assert (first.document["landed"], again.document["arrivals"]) == (NEW, 0), (first.document, again.document)
    told = process.run("jobs.cli", "--root", root, "store", "stat", "--json")
    verbs = [
        (INGEST, (first.wall_s, first.cpu_s)),
        (AGAIN, (again.wall_s, again.cpu_s)),
        (STAT, (told.wall_s, told.cpu_s)),
    ]
    calls = {
        ONE: lambda: find_blob(filled.job.tables, filled.stored(1)[0]),
        f"look-up of {NEW:,} new sha256": lambda: stored_contents(filled.job.tables, filled.new(NEW)),
        f"look-up of {NEW:,} sha256, {COPIES} of them stored": lambda: stored_contents(
            filled.job.tables, [*filled.new(NEW - COPIES), *filled.stored(COPIES)]
        ),
        HOUR: lambda: local_sql(filled.job.tables, _hour(filled)),
        f"known among {NEW:,} arrivals of a source": lambda: known_versions(filled.job.tables, *_listing(filled)),
        "figures of `store stat`": lambda: _stat(filled.job),
    }
    return [*verbs, *((name, _cost(call)) for name, call in calls.items())]


def _cost(call: Callable[[], Any]) -> Cost:
    found = []
    for _ in range(ROUNDS_OF_CALLS):
        started, used = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - started, time.process_time() - used))
    return median(wall for wall, _ in found), median(cpu for _, cpu in found)


def _stat(job: Job) -> dict[str, Any]:
    return stat(job.store, job.tables.dataset("blobs"), job.tables.folder("blobs"))


def _hour(filled: Filled) -> str:
    device = filled.draw.randrange(DEVICES)
    return (
        f"SELECT path, captured_at_utc, file FROM assets WHERE device_id = 'cam-{device:04}'"
        " AND captured_at_utc >= '2025-01-01 02:00:00+00' AND captured_at_utc < '2025-01-01 03:00:00+00'"
    )


def _listing(filled: Filled) -> tuple[str, str, str]:
    """The source, first and last key of a thousand arrivals that are there."""
    each = -(-filled.rows.objects // DEVICES)
    number = filled.draw.randrange(DEVICES) * each + 100
    rows = filled.rows.arrivals(np.arange(number, number + NEW, dtype=np.uint64))
    return rows["source"][0].as_py(), rows["key"][0].as_py(), rows["key"][-1].as_py()


def _touched(lakes: list[Filled]) -> list[tuple[str, ...]]:
    names = ("one sha256", f"{NEW:,} new sha256", "an hour of one device", f"{NEW:,} arrivals of a source")
    return list(zip(names, *(_touched_in(filled) for filled in lakes), strict=True))


def _touched_in(filled: Filled) -> list[str]:
    tables = filled.job.tables
    source, first, last = _listing(filled)
    hour = [pa.scalar(START_US + hours * 3_600_000_000).cast(pa.timestamp("us", "UTC")) for hours in (2, 3)]
    one = filled.stored(1)[0]
    return [
        _count(tables.dataset("blobs"), pc.field("sha256") == one, tables.dataset("blobs")),
        _count(rows_with(tables, "blobs", filled.new(NEW)), None, tables.dataset("blobs")),
        _count(
            tables.dataset("assets"),
            (pc.field("device_id") == "cam-0117")
            & (pc.field("captured_at_utc") >= hour[0])
            & (pc.field("captured_at_utc") < hour[1]),
            tables.dataset("assets"),
        ),
        _count(
            tables.dataset("arrivals"),
            (pc.field("source") == source) & (pc.field("key") >= first) & (pc.field("key") <= last),
            tables.dataset("arrivals"),
        ),
    ]


def _count(part: Any, wanted: Any, whole: Any) -> str:
    """Files and row groups of a part that statistics leave for a filter, of those of the whole."""

    def counted(dataset: Any, condition: Any) -> tuple[int, int]:
        groups = [
            len(f.split_by_row_group(filter=condition) if condition is not None else f.row_groups)
            for f in dataset.get_fragments(filter=condition)
        ]
        return sum(count > 0 for count in groups), sum(groups)

    (files, groups), (all_files, all_groups) = counted(part, wanted), counted(whole, None)
    return f"{files} of {all_files}, {groups} of {all_groups}"


def _sizes(lakes: list[Filled]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (f"`{name}`, bytes a row", *(round(_bytes(each, name) / each.rows.objects, 1) for each in lakes))
        for name in TABLES
    ]
    return [
        *rows,
        ("all three, MB", *(round(sum(_bytes(each, name) for name in TABLES) / 1e6) for each in lakes)),
        ("made and sorted, s", *(round(each.filled_s) for each in lakes)),
        ("`lake maintain`, its part for tables in order, s", *(round(each.maintained_s, 1) for each in lakes)),
    ]


def _bytes(filled: Filled, name: str) -> int:
    return filled.job.tables.size_bytes(name)
