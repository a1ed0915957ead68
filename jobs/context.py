"""What a verb works with: settings, tables, store and the engine, opened from the command's common options."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from lake.catalog.create import require_lake
from lake.cluster.resources import manager_of
from lake.errors import UsageError
from lake.settings import Settings, load_settings
from lake.store.foreign import STAGING
from lake.store.objects import ObjectStore, open_store
from lake.tables import Tables
from lake.without_pandas import keep_pandas_out

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.cli import Invocation
    from lake.catalog.runs import RunRecord
    from lake.engine import Engine


@dataclass(frozen=True)
class Job:
    """One verb's view of one lake."""

    settings: Settings
    tables: Tables
    store: ObjectStore
    spools: str = field(default_factory=lambda: f"run-{uuid4().hex}")
    """Name of the folder that the spools of this command's tasks lie in."""

    @property
    def staging_dir(self) -> str | None:
        """Where executors spool: beside a folder root, so that a finished pack is linked and not copied.

        A folder of this command's own, which ``recorded`` deletes in the end.
        """
        return None if self.settings.is_s3 else str(Path(self.settings.root, STAGING, self.spools))


def open_job(invocation: Invocation, *, must_exist: bool = True) -> Job:
    """Open the lake the command names; one line says what to do when there is none."""
    settings = load_settings(invocation.root, invocation.profile)
    job = Job(settings, Tables(settings.root, settings.storage_options()), open_store(settings.root, settings.s3))
    if must_exist:
        require_lake(job.store)
    return job


keep_pandas_out()  # before a verb imports what looks for pandas as it is imported


def utc_now() -> datetime:
    return datetime.now(UTC)


def tell_wait(holder: object) -> None:
    """Say for whom a run waits."""
    print(f"lake: waiting for {holder}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def recorded(
    job: Job, invocation: Invocation, verb: str, *, exclusive: Sequence[str] = (), leased: bool = True
) -> Iterator[RunRecord]:
    """Run a block as a recorded run, alone among runs that name one of the same things in ``exclusive``.

    Not ``leased`` is what collects garbage or erases, which would wait for itself.
    """
    from lake.catalog.runs import record_run
    from lake.delta_errors import arrow_errors
    from lake.store.lock import exclusive as locked

    store = job.store if leased else None
    with (
        locked(job.store, exclusive, utc_now, tell_wait),
        record_run(job.tables, store, verb, invocation.argv, utc_now, tell_wait) as run,
        arrow_errors(job.tables.root),
    ):
        try:
            yield run
        finally:
            if job.staging_dir is not None:  # workers that were killed left their spools
                shutil.rmtree(job.staging_dir, ignore_errors=True)


class Engines:
    """Chooses and starts the engine of a run, and ends what it started."""

    def __init__(self, settings: Settings, requested: str | None, app_name: str) -> None:
        self.settings = settings
        self.requested = requested or settings.engine
        self.app_name = app_name
        self.used: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._engines: dict[str, Engine] = {}
        self._spark: SparkSession | None = None

    def started(self) -> Engine:
        """The run's engine, started when first asked for: a run that finds nothing to do starts none.

        ``auto`` is Spark on a cluster, else this machine's processes: there Spark has the same cores and a start to
        pay for (docs/decisions/0002).
        """
        name = self.requested
        if name == "auto":
            name = "spark" if self._on_cluster() else "local"
        if name not in self._engines:
            self._engines[name] = self._start(name)
        self.used.add(name)
        return self._engines[name]

    @property
    def said(self) -> str:
        """The engines that were used, as the record of a run names them."""
        return "+".join(sorted(self.used)) or "none"

    def _start(self, name: str) -> Engine:
        from lake.engine import LocalEngine, SparkEngine

        if name == "local":
            local = LocalEngine(self.settings.workers)
            self._stack.callback(local.close)
            return local
        if name != "spark":
            raise UsageError(f"unknown engine {name!r}: use auto, local or spark")
        asked = self.settings.spark.resources
        # A local master has no executors, so no GPUs to deal out.
        gpu_slots = asked.gpu_slots if self._on_cluster() else 0
        return SparkEngine(self.spark(), self._spark_slots(), gpu_slots=gpu_slots, tasks_per_gpu=asked.tasks_per_gpu)

    def spark(self) -> SparkSession:
        """The one session of this run, started when first asked for."""
        if self._spark is None:
            from lake.engine.attach import session_for

            self._spark = self._stack.enter_context(session_for(self.settings, self.app_name))
        return self._spark

    def _on_cluster(self) -> bool:
        return bool(self.settings.remote) or manager_of(self.settings.spark.master) != "local"

    def _spark_slots(self) -> int:
        master = self.settings.spark.master
        inside = master[len("local[") : -1] if master.startswith("local[") else ""
        if inside.isdigit():
            return int(inside)
        spark = self.settings.spark
        return spark.slots or spark.resources.slots or self.settings.workers or os.cpu_count() or 1

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
