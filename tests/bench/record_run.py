"""``lake analyze log_mel`` before a terminal, with its record kept, left out or timed by patches of this process.

python -m tests.bench.record_run {kept,none,timed} ROOT SPENT     prints JSON {seconds spent, by part}

SPENT is a file in which the workers write down what they spent.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa

import jobs.progress
import lake.analysis.costs
import lake.catalog.runs
from jobs.cli import main as lake_command
from jobs.progress import Progress
from lake.analysis import runner, worker
from lake.analysis.measured import Measured
from lake.analysis.plan import Planner
from lake.analysis.runner import AnalyzeReport
from lake.analysis.worker import AnalysisContext
from lake.catalog.runs import RunRecord
from lake.store.alone import at_work
from lake.tables import Tables

FILE = Path(__file__).with_name("measured_analyses.py")
ROWS, NUMBERS, WORKERS, COSTS, PROGRESS, OPENED, DRAWN = (
    "rows of `runs` and `run_stages`",
    "percentiles, ten slowest, counts",
    "what tasks measure, and its way to the driver",
    "costs, written and read",
    "progress: how much there is, the time left",
    "progress: a bar is opened on the terminal",
    "progress: the bar is drawn",
)
SPENT_FILE = "BENCH_SPENT"
SPENT: dict[str, float] = defaultdict(float)
"""Seconds in this process, by part."""


def timed(part: str, function: Callable[..., Any], clock: Callable[[], float] = time.perf_counter) -> Any:
    """The function, whose time is added to a part."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        started = clock()
        try:
            return function(*arguments, **options)
        finally:
            SPENT[part] += clock() - started

    return call


def task_without(context: AnalysisContext, payload: bytes) -> Iterator[bytes]:
    """Runs in a worker: a task that measures nothing."""
    with patch.object(worker, "measured", lambda *arguments: Measured()):
        yield from worker.run_analysis_task(context, payload)


def task_timed(context: AnalysisContext, payload: bytes) -> Iterator[bytes]:
    """Runs in a worker: a task that tells how long it measured."""
    with patch.object(worker, "measured", timed(WORKERS, functools.partial(_carried, worker.measured))):
        outputs = list(worker.run_analysis_task(context, payload))
    with open(os.environ[SPENT_FILE], "a") as spent:
        spent.write(f"{SPENT.pop(WORKERS)!r}\n")
    yield from outputs


def _carried(measured: Callable[..., Measured], *arguments: Any) -> Measured:
    """What was measured, after a way as that to the driver."""
    found: Measured = pickle.loads(pickle.dumps(measured(*arguments)))
    return found


@contextlib.contextmanager
def _unrecorded(
    tables: Tables, store: Any, verb: str, arguments: Any, now: Any, on_wait: Any = None
) -> Iterator[RunRecord]:
    """``record_run`` without its rows; a run has its lease as ever."""
    with at_work(store, verb, now, on_wait):
        yield RunRecord("none")


def without() -> Iterator[Any]:
    """Patches that replace the record, and the progress, by nothing."""
    yield patch.object(lake.catalog.runs, "record_run", _unrecorded)
    yield patch.object(RunRecord, "stage", lambda *arguments, **options: None)
    yield patch.object(AnalyzeReport, "add", lambda *arguments: None)
    yield patch.object(runner, "costs_so_far", lambda tables: {})
    yield patch.object(runner, "run_analysis_task", task_without)
    yield patch.object(Planner, "loads", lambda planner: {})
    yield patch.object(Progress, "__enter__", lambda progress: progress)
    yield patch.object(Progress, "update", lambda *arguments, **options: None)


def watched() -> Iterator[Any]:
    """Patches that time it."""
    append, open_bar = Tables.append, jobs.progress._Terminal.__init__

    def appended(tables: Tables, name: str, rows: pa.Table, **options: Any) -> int:
        call: Callable[..., int] = timed(ROWS, append) if name in ("runs", "run_stages") else append
        return call(tables, name, rows, **options)

    def opened(bar: Any, what: str) -> None:
        timed(OPENED, open_bar)(bar, what)
        from rich.live import Live

        # It draws in a thread of its own: the time of that thread's processor, not that of waiting for its turn.
        patch.object(Live, "refresh", timed(DRAWN, Live.refresh, time.thread_time)).start()

    yield patch.object(Tables, "append", appended)
    yield patch.object(jobs.progress._Terminal, "__init__", opened)
    yield patch.object(runner, "run_analysis_task", task_timed)
    for part, owner, name in (
        (NUMBERS, RunRecord, "stage"),
        (NUMBERS, AnalyzeReport, "add"),
        (COSTS, runner, "costs_so_far"),
        (COSTS, runner, "summed"),
        (COSTS, runner, "learned"),
        (COSTS, lake.analysis.costs, "to_rows"),
        (PROGRESS, Planner, "loads"),
        (PROGRESS, Progress, "update"),
        (PROGRESS, Progress, "__exit__"),
    ):
        yield patch.object(owner, name, timed(part, getattr(owner, name)))


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Standard error is a terminal meanwhile, looked at; what it showed is told when the command fails."""
    before, shown = os.dup(2), bytearray()
    master, slave = os.openpty()

    def look() -> None:
        with contextlib.suppress(OSError):
            while True:
                shown.extend(os.read(master, 65536))

    os.dup2(slave, 2)
    threading.Thread(target=look, daemon=True).start()
    try:
        yield
    except SystemExit as error:
        if error.code:
            os.write(before, shown)
            raise
    finally:
        os.dup2(before, 2)


def main() -> None:
    how, root, spent = sys.argv[1:4]
    os.environ |= {SPENT_FILE: spent, "TERM": "xterm"}
    with contextlib.ExitStack() as stack:
        for each in {"kept": tuple, "none": without, "timed": watched}[how]():
            stack.enter_context(each)
        with terminal():
            lake_command(["--root", root, "analyze", "log_mel", "--module", str(FILE), "--engine", "local"])
    print(json.dumps({"spent": SPENT}))


if __name__ == "__main__":
    # Workers find its functions by this module's name.
    from tests.bench.record_run import main as run

    run()
