"""One analyze run: plan what lacks a result, run it in waves, commit each. Runs on the driver."""

from __future__ import annotations

import functools
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from lake.analysis.base import Analysis
from lake.analysis.costs import NOTHING, Costs, Group, Load, Sums, learned, merged, summed
from lake.analysis.measured import Measured
from lake.analysis.plan import STAGE, Planner, Tried, WorkItem, by_device, costs_so_far, cut, waves
from lake.analysis.worker import AnalysisContext, AnalysisOutput, run_analysis_task
from lake.engine.base import Engine
from lake.errors import UsageError
from lake.model import AnalysisKey, Failure, Row
from lake.schema import QUARANTINE
from lake.slowest import Slow, slowest_of
from lake.tables import DataFile, Tables, lacking, other_types, rows_table


@dataclass
class AnalyzeReport:
    """What one analyze run did; ``analyses`` are the fixed fields of ``lake analyze --json``."""

    analyses: dict[str, dict[str, int]] = field(default_factory=dict)
    results_total: int = 0
    """Recordings × analyses to be done."""
    rows: int = 0
    bytes: int = 0
    record_seconds: list[float] = field(default_factory=list)
    """8 MB a million recordings: percentiles need all of them."""
    slowest: list[Slow] = field(default_factory=list)
    model_loads: int = 0
    peak_memory_bytes: int | None = None
    costs: dict[Group, Sums] = field(default_factory=dict)
    """What recordings took in this run."""
    loads_total: dict[Group, Load] = field(default_factory=dict)
    loads_done: dict[Group, Load] = field(default_factory=dict)
    share_done: float = 0.0
    """Of the whole work, by predicted cost: what an estimate of the time left needs."""

    @property
    def failed(self) -> int:
        return sum(counts["failed"] for counts in self.analyses.values())

    def add(self, measured: Measured, costs: Costs) -> None:
        """Count what a task measured; ``costs`` say how much of all the work is done now."""
        self.record_seconds += measured.seconds
        self.slowest = slowest_of([*self.slowest, *measured.slowest])
        self.model_loads += measured.model_loads
        peaks = [peak for peak in (self.peak_memory_bytes, measured.peak_memory_bytes) if peak is not None]
        self.peak_memory_bytes = max(peaks, default=None)
        for group, load in measured.loads.items():
            self.loads_done[group] = self.loads_done.get(group, NOTHING).plus(load)
        total = costs.total(self.loads_total)
        self.share_done = min(1.0, costs.total(self.loads_done) / total) if total else 0.0


@dataclass(frozen=True)
class AnalyzePlan:
    """Everything an analyze run needs, as values."""

    context: AnalysisContext
    analyses: tuple[Analysis, ...]
    """Those of the context, with all their functions."""
    tables: Tables
    wave_max_items: int
    wave_max_bytes: int


def analyze(
    plan: AnalyzePlan,
    engine: Callable[[], Engine],
    now: Callable[[], datetime],
    progress: Callable[[AnalyzeReport], None] = lambda report: None,
    retry: Iterable[tuple[str, str]] = (),
) -> AnalyzeReport:
    """Run the context's analyses on every content that lacks their result."""
    analyses = plan.analyses
    older = [analysis for analysis in analyses if not plan.tables.create(analysis.table, analysis.schema)]
    planner = Planner(plan.tables, analyses, retry=retry)
    backlog = planner.backlog()
    for analysis in older:
        if backlog.todo[analysis.name]:
            _widen_table(plan.tables, analysis)
    if mended := [_mended_row(plan, each, now()) for each in planner.overtaken()]:
        plan.tables.append("quarantine", rows_table(mended, QUARANTINE))
    report = AnalyzeReport(
        {a.name: {"done": 0, "skipped": backlog.skipped[a.name], "failed": 0} for a in analyses},
        results_total=sum(backlog.todo.values()),
        loads_total=planner.loads(),
    )
    progress(report)
    before = costs_so_far(plan.tables) if report.results_total else {}
    try:
        for wave in waves(planner.work(), plan.wave_max_items, plan.wave_max_bytes):
            costs = learned(merged([before, report.costs]))
            _run_wave(plan, wave, costs, engine(), now, report, planner.tried(wave), progress)
    finally:
        planner.close()
    return report


def _run_wave(
    plan: AnalyzePlan,
    wave: list[WorkItem],
    costs: Costs,
    engine: Engine,
    now: Callable[[], datetime],
    report: AnalyzeReport,
    tried: list[Tried],
    progress: Callable[[AnalyzeReport], None],
) -> None:
    timings: dict[Group, list[tuple[int, float]]] = defaultdict(list)
    files: dict[str, list[DataFile]] = defaultdict(list)
    failures: list[tuple[str, str, Failure]] = []
    for payload in _outputs(plan.context, wave, costs, engine):
        output: AnalysisOutput = pickle.loads(payload)  # noqa: S301  (made by this run's own executors)
        for name, written in output.files.items():
            files[name] += written
        for name, done in output.done.items():
            report.analyses[name]["done"] += done
        failures += output.failures
        report.rows += output.rows
        report.bytes += output.bytes
        report.add(output.measured, costs)
        for group, found in output.measured.timings.items():
            timings[group] += found
        progress(report)
    report.costs = merged([report.costs, {group: summed(found) for group, found in timings.items()}])
    # One commit a feature table: results and "done" are the same rows, so a kill between two tables loses nothing.
    for name, written in files.items():
        plan.tables.add_files(plan.context.analyses[name].table, plan.context.analyses[name].schema, written)
    plan.tables.append("quarantine", rows_table(_quarantine_rows(plan, wave, failures, tried, now()), QUARANTINE))
    for _, name, _ in failures:
        report.analyses[name]["failed"] += 1


def _outputs(context: AnalysisContext, wave: list[WorkItem], costs: Costs, engine: Engine) -> Iterator[bytes]:
    """What the tasks of a wave bring back: of those that ask for a GPU first, where the engine deals them out."""
    accelerated = context.accelerated() if engine.gpu_slots else frozenset()
    needing, others = by_device(wave, accelerated)
    function = functools.partial(run_analysis_task, context)
    for items, slots, gpu in ((needing, engine.gpu_slots, True), (others, engine.slots, False)):
        yield from engine.run([pickle.dumps(task) for task in cut(items, slots, costs)], function, gpu=gpu)


def _widen_table(tables: Tables, analysis: Analysis) -> None:
    """A later version of an analysis may have more fields than its table.

    Raises:
        UsageError: a field has another type now, which the rows that are there would not fit.
    """
    table = tables.open(analysis.table)
    for name, (there, now) in other_types(table, analysis.schema).items():
        raise UsageError(
            f"{analysis.name}: the field {name!r} is {now}, and {there} in {analysis.table}: give it another name"
        )
    if lacking(table, analysis.schema):
        tables.add_columns(analysis.table, analysis.schema)


def _quarantine_rows(
    plan: AnalyzePlan, wave: list[WorkItem], failures: list[tuple[str, str, Failure]], tried: list[Tried], at: datetime
) -> list[Row]:
    """Failures of a wave, and what its results mend: also a failure of another version, of which nobody would hear."""
    attempts, keys = {(each.sha256, each.key): each.attempts for each in tried}, plan.context.keys
    rows = [
        _row(plan, sha256, keys[name], attempts.get((sha256, keys[name]), 0) + 1, at, why.error_class, why.message)
        for sha256, name, why in failures
    ]
    done = {(item.ref.sha256, name) for item in wave for name in item.analyses}
    done -= {(sha256, name) for sha256, name, _ in failures}
    return rows + [
        _mended_row(plan, each, at) for each in tried if each.open and (each.sha256, each.key.analysis) in done
    ]


def _mended_row(plan: AnalyzePlan, mended: Tried, at: datetime) -> Row:
    return _row(plan, mended.sha256, mended.key, mended.attempts + 1, at, None, "mended by a later attempt")


def _row(
    plan: AnalyzePlan, sha256: str, key: AnalysisKey, attempt: int, at: datetime, error_class: str | None, message: str
) -> Row:
    return {
        "sha256": sha256,
        "stage": STAGE,
        "analysis": key.analysis,
        "analysis_version": key.version,
        "params_hash": key.params_hash,
        "model_hash": key.model_hash,
        "error_class": error_class,
        "message": message,
        "attempt": attempt,
        "run_id": plan.context.run_id,
        "at_utc": at,
    }
