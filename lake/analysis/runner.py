"""One analyze run: plan what lacks a result, run it in waves, commit each. Runs on the driver."""

from __future__ import annotations

import functools
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from lake.analysis.base import Analysis
from lake.analysis.plan import Planner, WorkItem, cut, waves
from lake.analysis.worker import AnalysisContext, AnalysisOutput, run_analysis_task
from lake.engine.base import Engine
from lake.model import Failure, Row
from lake.schema import QUARANTINE
from lake.tables import DataFile, Tables, rows_table

STAGE = "analyze"


@dataclass
class AnalyzeReport:
    """What one analyze run did; ``analyses`` are the fixed fields of ``lake analyze --json``."""

    analyses: dict[str, dict[str, int]] = field(default_factory=dict)
    recordings: int = 0
    recordings_total: int = 0
    rows: int = 0
    bytes: int = 0
    record_seconds: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return sum(counts["failed"] for counts in self.analyses.values())


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
    for analysis in analyses:
        plan.tables.create(analysis.table, analysis.schema)
    retry = list(retry)
    planner = Planner(plan.tables, analyses, retry=retry)
    backlog = planner.backlog()
    report = AnalyzeReport(
        {a.name: {"done": 0, "skipped": backlog.skipped[a.name], "failed": 0} for a in analyses},
        recordings_total=sum(backlog.todo.values()),
    )
    progress(report)
    try:
        for wave in waves(planner.work(), plan.wave_max_items, plan.wave_max_bytes):
            _run_wave(plan, wave, engine(), now, report, set(retry), progress)
    finally:
        planner.close()
    return report


def _run_wave(
    plan: AnalyzePlan,
    wave: list[WorkItem],
    engine: Engine,
    now: Callable[[], datetime],
    report: AnalyzeReport,
    retry: set[tuple[str, str]],
    progress: Callable[[AnalyzeReport], None],
) -> None:
    tasks = [pickle.dumps(task) for task in cut(wave, engine.slots)]
    files: dict[str, list[DataFile]] = defaultdict(list)
    failures: list[tuple[str, str, Failure]] = []
    for payload in engine.run(tasks, functools.partial(run_analysis_task, plan.context)):
        output: AnalysisOutput = pickle.loads(payload)  # noqa: S301  (made by this run's own executors)
        for name, written in output.files.items():
            files[name] += written
        for name, done in output.done.items():
            report.analyses[name]["done"] += done
        failures += output.failures
        report.rows += output.rows
        report.bytes += output.bytes
        report.record_seconds += output.seconds
        report.recordings += sum(output.done.values()) + len(output.failures)
        progress(report)
    # One commit a feature table: results and "done" are the same rows, so a kill between two tables loses nothing.
    for name, written in files.items():
        plan.tables.add_files(plan.context.analyses[name].table, plan.context.analyses[name].schema, written)
    attempts = _attempts(plan.tables, retry)
    mended = retry & {(item.ref.sha256, name) for item in wave for name in item.analyses}
    rows = [_failure_row(plan, entry, now(), attempts) for entry in failures]
    rows += [_mended_row(plan, entry, now(), attempts) for entry in mended - {(s, n) for s, n, _ in failures}]
    plan.tables.append("quarantine", rows_table(rows, QUARANTINE))
    for _, name, _ in failures:
        report.analyses[name]["failed"] += 1


def _attempts(tables: Tables, retry: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Attempts so far at what is retried."""
    if not retry:
        return {}
    attempts: dict[tuple[str, str], int] = {}
    rows = tables.dataset("quarantine").to_table(columns=["sha256", "analysis", "attempt"]).to_pylist()
    for row in rows:
        key = (row["sha256"], row["analysis"])
        if key in retry:
            attempts[key] = max(attempts.get(key, 0), row["attempt"])
    return attempts


def _failure_row(
    plan: AnalyzePlan, entry: tuple[str, str, Failure], at: datetime, attempts: dict[tuple[str, str], int]
) -> Row:
    sha256, name, failure = entry
    return {
        "sha256": sha256,
        "stage": STAGE,
        "analysis": name,
        "analysis_version": plan.context.keys[name].version,
        "params_hash": plan.context.keys[name].params_hash,
        "model_hash": plan.context.keys[name].model_hash,
        "error_class": failure.error_class,
        "message": failure.message,
        "attempt": attempts.get((sha256, name), 0) + 1,
        "run_id": plan.context.run_id,
        "at_utc": at,
    }


def _mended_row(plan: AnalyzePlan, entry: tuple[str, str], at: datetime, attempts: dict[tuple[str, str], int]) -> Row:
    row = _failure_row(plan, (*entry, Failure("", "mended by a later attempt")), at, attempts)
    return {**row, "error_class": None}
