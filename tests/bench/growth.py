"""Part ``growth``: a lake that is fed one recording at a time, a thousand times, and kept up on a schedule."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from jobs.cli import Invocation
from jobs.context import Engines, Job
from jobs.ingest import ingest_source, make_plan
from jobs.upkeep import maintain
from lake.tables import MERGE_EVERY_COMMITS
from tests.bench.deliveries import deliver
from tests.bench.place import Place
from tests.bench.report import Figure, Section, table

AROUND = 5
YOUNG, OLD = 10, 1_000
UPKEEP_EVERY = 288
"""Runs of a day, at one every five minutes."""
TOLD = (10, 100, 500, 1_000)
TABLES = ("blobs", "assets", "arrivals", "runs")
TEXT = f"""One file a run, {OLD:,} runs and some more, in one process by the function that `lake ingest` calls, into a
folder; a file is taken away once it has landed. `lake maintain` runs after each {UPKEEP_EVERY} of them, a day's at one
run every five minutes. The time of a run is the median of it and the {AROUND} before and after, since every
{MERGE_EVERY_COMMITS}nd commit of a table merges its small files. The machine is not equally quick over so many minutes:
so a young lake is fed in turn with the old one at its end, and the {OLD:,}th run is compared with the {YOUNG}th of that
one. Between merges a table grows by a file a run; its log keeps its entries for 30 days, and the names of files that
were merged away for a week. Opening and committing look through both, and that is what grows."""


@dataclass
class Fed:
    """A lake that gets one file at a time."""

    job: Job
    folder: Path
    engines: Engines
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Of the driver."""

    def run(self) -> None:
        """Deliver one file, ingest it and take it away, as a drop zone is emptied."""
        number = len(self.seconds) + 1
        deliver(self.folder, 1, number, mean_bytes=20_000, prefix=f"run{number:04}")
        started, used = time.perf_counter(), time.process_time()
        plan = make_plan(self.job, str(self.folder), None)
        report = ingest_source(self.job, Invocation(json=True), plan, self.engines)
        self.seconds.append(time.perf_counter() - started)
        self.cpu_s.append(time.process_time() - used)
        assert report["landed"] == 1, report
        shutil.rmtree(self.folder)

    def near(self, number: int) -> tuple[float, float]:
        """Medians of the time and of the CPU seconds of the runs around one."""
        around = slice(number - 1 - AROUND, number + AROUND)
        return median(self.seconds[around]), median(self.cpu_s[around])


def measure(place: Place) -> Section:
    jobs = {name: place.empty_lake(f"growth-{name}") for name in ("old", "young")}
    upkeep: list[tuple[object, ...]] = []
    files: dict[int, list[object]] = {}
    with Engines(jobs["old"].settings, "local", "bench") as engines:
        old, young = (Fed(job, place.scratch / f"growth-{name}-in", engines) for name, job in jobs.items())
        for number in range(1, OLD + AROUND + 1):
            old.run()
            if number > OLD - YOUNG:
                young.run()
            if number in TOLD:
                files[number] = [len(old.job.tables.files(name)) for name in TABLES]
            if number % UPKEEP_EVERY == 0:
                upkeep.append(_upkeep(old.job, number, engines))
    told = [(f"{at:,}", old.near(at), files[at]) for at in TOLD]
    told.append((f"{YOUNG} of the young lake", young.near(YOUNG), [""] * len(TABLES)))
    rows = [(name, *(f"{each:.3f}" for each in costs), *count) for name, costs, count in told]
    head = ("run", "s", "CPU s of the driver", *(f"files of `{name}`" for name in TABLES))
    figures = [
        Figure(f"run {OLD:,} over run {YOUNG} of a young lake, {what}", aged / fresh, at_most=1.2)
        for what, aged, fresh in zip(("time", "CPU"), old.near(OLD), young.near(YOUNG), strict=True)
    ]
    tables = [table(head, rows), table(("`lake maintain` after run", "s", "packs before", "packs after"), upkeep)]
    return Section("growth", "Growth", TEXT, figures, tables)


def _upkeep(job: Job, number: int, engines: Engines) -> tuple[object, ...]:
    before = _packs(job)
    started = time.perf_counter()
    maintain(job, Invocation(json=True), engines, 168)
    return f"{number:,}", time.perf_counter() - started, before, _packs(job)


def _packs(job: Job) -> int:
    return len(set(job.tables.dataset("blobs").to_table(columns=["pack_uri"]).column(0).to_pylist()))
