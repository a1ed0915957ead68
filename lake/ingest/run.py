"""One ingest: list, find what is new, land it in waves, commit each. Runs on the driver."""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from lake.engine.base import Engine
from lake.ingest.commit import RunFacts, commit_wave, sizes_stored
from lake.ingest.devices import device_of
from lake.ingest.discover import new_arrivals, waves
from lake.ingest.plan import IngestTask, cut
from lake.ingest.worker import IngestContext, Landing, run_ingest_task
from lake.model import Arrival, Device, Row, Skipped
from lake.tables import Tables

MAX_STORED_CANDIDATES = 200_000
"""Contents of equal size sent to the executors at most (6 MB of references in a wave)."""


@dataclass
class IngestReport:
    """What one ingest did; the fixed fields of ``lake ingest --json``."""

    arrivals: int = 0
    landed: int = 0
    duplicates: int = 0
    quarantined: int = 0
    pending: int = 0
    bytes: int = 0
    seen: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0
    record_seconds: list[float] = field(default_factory=list)

    def add(self, arrivals: Sequence[Row]) -> None:
        states = Counter(row["state"] for row in arrivals)
        self.arrivals += len(arrivals)
        self.landed += states["landed"]
        self.duplicates += states["duplicate"]
        self.quarantined += states["quarantined"]
        self.bytes += sum(row["size_bytes"] or 0 for row in arrivals)


MAX_SKIPPED_TOLD = 1000
MAX_TIMINGS = 100_000


@dataclass(frozen=True)
class IngestPlan:
    """Everything an ingest needs, as values."""

    context: IngestContext
    tables: Tables
    devices: dict[str, Device]
    device_id: str | None
    wave_max_arrivals: int
    wave_max_bytes: int
    task_bytes: int


def ingest(
    plan: IngestPlan,
    choose_engine: Callable[[Sequence[Arrival]], Engine],
    run_id: str,
    now: Callable[[], datetime],
    progress: Callable[[IngestReport], None] = lambda report: None,
) -> IngestReport:
    """Land what is new in a source. A bad recording is a row; what raises is a dead store, a dead source or a bug.

    ``choose_engine`` gets the first wave: a small one needs no JVM.
    """
    report = IngestReport()

    def skipped(entry: Skipped) -> None:
        report.skipped_count += 1
        if len(report.skipped) < MAX_SKIPPED_TOLD:
            report.skipped.append(entry)

    def seen(count: int) -> None:
        report.seen += count
        progress(report)

    found = new_arrivals(plan.context.connector, plan.tables, skipped, seen)
    known_device = plan.devices
    named = (replace(a, device_id=plan.device_id or device_of(known_device, a)) for a in found)
    for wave in waves(named, plan.wave_max_arrivals, plan.wave_max_bytes):
        land_wave(plan, wave, choose_engine(wave), RunFacts(run_id, now(), plan.devices), report, progress)
    return report


def land_wave(
    plan: IngestPlan,
    wave: Sequence[Arrival],
    engine: Engine,
    facts: RunFacts,
    report: IngestReport,
    progress: Callable[[IngestReport], None] = lambda report: None,
) -> None:
    """Land and commit one wave."""
    landings = land(plan, wave, engine)
    report.add(commit_wave(plan.tables, landings, facts))
    if len(report.record_seconds) < MAX_TIMINGS:
        report.record_seconds.extend(landing.seconds for landing in landings)
    progress(report)


def land(plan: IngestPlan, wave: Sequence[Arrival], engine: Engine) -> list[Landing]:
    """Have the engine read, store and probe a wave; nothing is committed."""
    stored = frozenset(sizes_stored(plan.tables, (a.size_bytes for a in wave), MAX_STORED_CANDIDATES))
    tasks = [pickle.dumps(IngestTask(tuple(part), stored)) for part in cut(wave, engine.slots, plan.task_bytes)]
    landings: list[Landing] = []
    for output in engine.run(tasks, functools.partial(run_ingest_task, plan.context)):
        landings += pickle.loads(output)  # noqa: S301  (made by this run's own executors)
    return landings
