"""The record of runs: what ran, with which result. A scheduler and an operator read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import pyarrow.compute as pc

from connectors.keys import readable
from lake.errors import LakeError, NotFound, is_interrupt
from lake.model import Row
from lake.schema import RUN_STAGES, RUNS
from lake.slowest import Slow
from lake.store.alone import at_work
from lake.store.lease import Holder
from lake.store.objects import ObjectStore
from lake.tables import Tables, rows_table

EXIT_INTERRUPTED = 130


@dataclass
class RunRecord:
    """One run while it goes on."""

    run_id: str
    engine: str = "none"
    stages: list[Row] = field(default_factory=list)

    def stage(
        self,
        name: str,
        *,
        rows_in: int,
        rows_out: int,
        rows_failed: int,
        size_bytes: int,
        seconds: float,
        record_seconds: Sequence[float] = (),
        slowest: Sequence[Slow] = (),
        model_loads: int | None = None,
        peak_memory_bytes: int | None = None,
        costs: Sequence[Row] = (),
    ) -> None:
        """Add one stage.

        ``record_seconds`` are the times of single recordings, ``slowest`` the recordings that took longest, ``costs``
        what the next run may learn from (``lake.analysis.costs``); none of them is recorded as null.
        """
        p50, p95, p99 = percentiles(record_seconds)
        self.stages.append(
            {
                "run_id": self.run_id,
                "stage": name,
                "rows_in": rows_in,
                "rows_out": rows_out,
                "rows_failed": rows_failed,
                "bytes": size_bytes,
                "seconds": seconds,
                "p50_s": p50,
                "p95_s": p95,
                "p99_s": p99,
                "slowest": [one._asdict() for one in slowest] or None,
                "model_loads": model_loads,
                "peak_memory_bytes": peak_memory_bytes,
                "costs": list(costs) or None,
            }
        )


def percentiles(seconds: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Median, 95th and 99th percentile (nearest rank); None for no values."""
    if not seconds:
        return None, None, None
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return at(0.50), at(0.95), at(0.99)


@contextmanager
def record_run(
    tables: Tables,
    store: ObjectStore | None,
    verb: str,
    arguments: Sequence[str],
    now: Callable[[], datetime],
    on_wait: Callable[[Holder], None] = lambda holder: None,
) -> Iterator[RunRecord]:
    """Append a row when a run starts and one when it ends, also when it ends by an error.

    A lease is held on ``store`` meanwhile; None for what collects garbage or erases, which would wait for itself.
    ``on_wait`` is told of who is alone in the lake and waited for.
    """
    from lake import __version__

    run = RunRecord(new_run_id(now()))
    started = now()
    base: Row = {
        "run_id": run.run_id,
        "verb": verb,
        "arguments": readable(" ".join(arguments)),
        "started_at_utc": started,
        "lake_version": __version__,
    }
    state, status, message = "done", 0, None
    try:
        # Inside: an interrupt that comes just after the commit is recorded too.
        tables.append("runs", rows_table([{**base, "state": "running"}], RUNS))
        purpose = f"{verb}, run {run.run_id}"
        with at_work(store, purpose, now, on_wait) if store is not None else nullcontext():
            yield run
    except BaseException as error:
        state, status = "failed", error.exit_status if isinstance(error, LakeError) else 1
        message = readable(" ".join(str(error).split()))[:2000]
        if is_interrupt(error):
            state, status, message = "interrupted", EXIT_INTERRUPTED, "interrupted"
        raise
    finally:
        ended = now()
        last = {
            **base,
            "state": state,
            "exit_status": status,
            "ended_at_utc": ended,
            "seconds": (ended - started).total_seconds(),
            "engine": run.engine,
            "rows_in": sum(stage["rows_in"] for stage in run.stages),
            "rows_out": sum(stage["rows_out"] for stage in run.stages),
            "rows_failed": sum(stage["rows_failed"] for stage in run.stages),
            "bytes": sum(stage["bytes"] for stage in run.stages),
            "message": message,
        }
        # A store that died with the run must not hide why the run failed.
        with suppress(*(() if state == "done" else (LakeError,))):
            tables.append("run_stages", rows_table(run.stages, RUN_STAGES))
            tables.append("runs", rows_table([last], RUNS))


def new_run_id(at: datetime) -> str:
    """A run's id: sorts by time, unique without asking anyone."""
    return f"{at:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}-{os.getpid()}"


def list_runs(tables: Tables, limit: int) -> list[Row]:
    """The newest runs, one row each: its last state."""
    rows = tables.dataset("runs").to_table().to_pylist()
    last: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r["run_id"], r["state"] != "running")):
        last[row["run_id"]] = row
    return sorted(last.values(), key=lambda r: (r["started_at_utc"], r["run_id"]), reverse=True)[:limit]


def show_run(tables: Tables, run_id: str) -> list[Row]:
    """A run and its stages; the beginning of an id is enough when it is unique."""
    found = [row for row in list_runs(tables, 10**9) if row["run_id"].startswith(run_id)]
    if len(found) != 1:
        said = f"{len(found)} runs begin with" if found else "no run begins with"
        raise NotFound(f"{said} {run_id!r}: `lake runs list` shows them")
    wanted = pc.field("run_id") == found[0]["run_id"]
    stages = tables.dataset("run_stages").to_table(filter=wanted).to_pylist()
    return [*found, *stages]
