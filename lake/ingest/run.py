"""One ingest: list, find what is new, land it in waves, commit each. Runs on the driver."""

from __future__ import annotations

import functools
import pickle
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from lake.engine.base import Engine
from lake.ingest.attribution import device_matcher
from lake.ingest.commit import LANDINGS, RunFacts, commit_wave, sizes_stored, without_erased
from lake.ingest.discover import new_arrivals, one_ahead, waves
from lake.ingest.plan import IngestTask, cut
from lake.ingest.worker import IngestContext, run_ingest_task
from lake.model import Arrival, Skipped
from lake.slowest import SLOWEST, Slow, slowest_of
from lake.store.known import Known
from lake.store.lookup import FILTERED, parted, stored_contents
from lake.store.tombstones import erased_contents, open_erasures
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
    erased: int = 0
    """Arrivals with contents that were erased for good: they are not taken in again."""
    pending: int = 0
    bytes: int = 0
    seen: int = 0
    landing: int = 0
    """Arrivals that executors are done with and no commit holds yet: what progress tells before a wave ends."""
    landing_bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0
    record_seconds: list[float] = field(default_factory=list)
    slowest: list[Slow] = field(default_factory=list)
    peak_memory_bytes: int | None = None

    def read(self, landings: pa.Table, peak_memory_bytes: int | None) -> None:
        """Count what an executor brought back."""
        self.peak_memory_bytes = max(self.peak_memory_bytes or 0, peak_memory_bytes or 0) or None
        self.landing += landings.num_rows
        self.landing_bytes += _total(landings.column("listed_bytes"))

    def add(self, arrivals: pa.Table) -> None:
        """Count what was committed."""
        states = Counter(arrivals.column("state").to_pylist())
        size_bytes = _total(arrivals.column("size_bytes"))
        self.landing -= arrivals.num_rows
        self.landing_bytes -= size_bytes
        self.arrivals += arrivals.num_rows
        self.landed += states["landed"]
        self.duplicates += states["duplicate"]
        self.quarantined += states["quarantined"]
        self.erased += states["erased"]
        self.bytes += size_bytes


OnLanded = Callable[[pa.Table, int | None], None]
"""Gets the landings of a task, and the peak of memory (bytes) where it ran."""


def _slow(landings: pa.Table) -> list[Slow]:
    """The slowest of a wave."""
    first = pc.select_k_unstable(landings, SLOWEST, [("seconds", "descending")])
    return [Slow(**row) for row in landings.select(list(Slow._fields)).take(first).to_pylist()]


def _total(sizes: pa.ChunkedArray) -> int:
    return int(pc.sum(sizes).as_py() or 0)


MAX_SKIPPED_TOLD = 1000
MAX_TIMINGS = 100_000


@dataclass(frozen=True)
class IngestPlan:
    """Everything an ingest needs, as values."""

    context: IngestContext
    tables: Tables
    device_id: str | None
    wave_max_arrivals: int
    wave_max_bytes: int
    task_bytes: int


def ingest(
    plan: IngestPlan,
    engine: Callable[[], Engine],
    run_id: str,
    now: Callable[[], datetime],
    progress: Callable[[IngestReport], None] = lambda report: None,
) -> IngestReport:
    """Land what is new in a source. A bad recording is a row; what raises is a dead store, a dead source or a bug.

    ``engine`` is asked for when there is something to land, so that a run with nothing new starts none.
    """
    report = IngestReport()

    def skipped(entry: Skipped) -> None:
        report.skipped_count += 1
        if len(report.skipped) < MAX_SKIPPED_TOLD:
            report.skipped.append(entry)

    def seen(count: int) -> None:
        report.seen += count
        progress(report)

    def read(landings: pa.Table, peak_memory_bytes: int | None) -> None:
        report.read(landings, peak_memory_bytes)
        progress(report)

    found = new_arrivals(plan.context.connector, plan.tables, skipped, seen)
    device_of = device_matcher(plan.context.devices)
    named = (replace(a, device_id=plan.device_id or device_of(a.key)) for a in found)
    with _Commits(plan.tables, report, progress) as commits:
        for wave in one_ahead(waves(named, plan.wave_max_arrivals, plan.wave_max_bytes)):
            commits.start(land(plan, wave, engine(), commits.under_way, read), RunFacts(run_id, now()))
        commits.finish()
    return report


class _Commits:
    """Commits one wave on a thread of its own while the engine lands the next; in the order of the waves."""

    def __init__(self, tables: Tables, report: IngestReport, progress: Callable[[IngestReport], None]) -> None:
        self.tables = tables
        self.report = report
        self.progress = progress
        self.under_way: dict[str, int] = {}
        """Sizes of the contents of the wave that is being committed, which may not be in ``blobs`` yet. The wave itself
        is let go with its commit."""
        self._thread = ThreadPoolExecutor(1, "lake-commit")
        self._commit: Future[pa.Table] | None = None

    def start(self, landings: pa.Table, facts: RunFacts) -> None:
        """Begin to commit a wave, after the one before."""
        self.finish()
        read = landings.filter(pc.is_valid(landings.column("sha256")))
        self.under_way = dict(
            zip(read.column("sha256").to_pylist(), read.column("size_bytes").to_pylist(), strict=True)
        )
        self.report.slowest = slowest_of([*self.report.slowest, *_slow(landings)])
        if len(self.report.record_seconds) < MAX_TIMINGS:
            self.report.record_seconds.extend(landings.column("seconds").to_pylist())
        self._commit = self._thread.submit(commit_wave, self.tables, landings, facts)

    def finish(self) -> None:
        """Wait for the wave that is being committed; what went wrong raises here."""
        if self._commit is None:
            return
        self.report.add(self._commit.result())
        self._commit, self.under_way = None, {}
        self.progress(self.report)

    def __enter__(self) -> _Commits:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(wait=True)


def land(
    plan: IngestPlan,
    wave: Sequence[Arrival],
    engine: Engine,
    before: Mapping[str, int] | None = None,
    on_landed: OnLanded = lambda landings, peak: None,
) -> pa.Table:
    """Have the engine read, store and probe a wave, and return its ``LANDINGS``; nothing is committed.

    ``before`` are contents, with their sizes, that are being committed meanwhile and need not be stored again;
    ``on_landed`` is told of each task that ends. A content that only seemed to be stored is landed again.
    """
    blobs = parted(plan.tables.dataset("blobs"), FILTERED["blobs"])
    sizes = {arrival.size_bytes for arrival in wave}
    stored = sizes_stored(blobs.rest, sizes, MAX_STORED_CANDIDATES)
    stored |= {sha256: size_bytes for sha256, size_bytes in (before or {}).items() if size_bytes in sizes}
    erasures = open_erasures(plan.tables)
    stored |= erased_contents(erasures, "size_bytes", sizes)
    known = Known(plan.tables.folder("blobs"), blobs.groups)
    landings = _landed(plan, wave, engine, stored, known, on_landed)
    came = set(landings.column("sha256").drop_null().to_pylist())
    landings = without_erased(landings, erased_contents(erasures, "name", came))
    absent = absent_contents(plan.tables, landings, before or {})
    if not absent:
        return landings
    again = pc.is_in(landings.column("sha256"), pa.array(sorted(absent), pa.string()))
    ids = set(landings.filter(again).column("arrival_id").to_pylist())
    rest = [arrival for arrival in wave if arrival.arrival_id in ids]
    return pa.concat_tables(
        [landings.filter(pc.invert(again)), _landed(plan, rest, engine, {}, Known("", ()), lambda landings, peak: None)]
    )


def absent_contents(tables: Tables, landings: pa.Table, before: Mapping[str, int]) -> set[str]:
    """Contents that no task stored and that are not stored: a filter was wrong of them, or they were just erased."""
    read = landings.filter(pc.is_valid(landings.column("sha256")))
    packed = read.filter(pc.is_valid(read.column("pack_uri"))).column("sha256").to_pylist()
    doubted = set(read.column("sha256").to_pylist()) - set(packed) - before.keys()
    return doubted - stored_contents(tables, doubted).keys()


def _landed(
    plan: IngestPlan,
    wave: Sequence[Arrival],
    engine: Engine,
    stored: Mapping[str, int],
    known: Known,
    on_landed: OnLanded,
) -> pa.Table:
    tasks = []
    for part in cut(wave, engine.slots, plan.task_bytes):
        its_sizes = {arrival.size_bytes for arrival in part}
        its_stored = frozenset(sha256 for sha256, size_bytes in stored.items() if size_bytes in its_sizes)
        tasks.append(pickle.dumps(IngestTask(tuple(part), its_stored, known)))
    landings = [LANDINGS.empty_table()]
    for output in engine.run(tasks, functools.partial(run_ingest_task, plan.context)):
        told, peak_memory_bytes = pickle.loads(output)  # noqa: S301  (made by this run's own executors)
        part = pa.table(told, schema=LANDINGS)
        landings.append(part)
        on_landed(part, peak_memory_bytes)
    return pa.concat_tables(landings)
