"""Asks every executor of a cluster what it is made of. Runs on the driver; the asking travels by value."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

import lake.cluster
from lake.catalog.doctor import Check
from lake.cluster.agreement import Answer, compare, merged
from lake.cluster.facts import facts, process_name
from lake.cluster.resources import manager_of
from lake.errors import UsageError, is_interrupt
from lake.session import build_session, executor_count
from lake.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HOLD_S = 0.3
"""A task keeps its slot this long, so that the others are given to other executors."""
TASKS_PER_SLOT = 2
ROUNDS = 3
"""At least; the first one starts Pythons and tells little of clocks."""
PATIENCE_S = 120.0


def examine_cluster(settings: Settings, patience_s: float = PATIENCE_S) -> list[Check]:
    """Start a session on the profile's cluster, ask its executors, and compare them with this process.

    Raises:
        UsageError: the profile's master is no cluster.
    """
    if manager_of(settings.spark.master) == "local":
        raise UsageError(f"profile {settings.profile!r} has no cluster: its master is {settings.spark.master}")
    try:
        spark = build_session(settings, "lake doctor", writes=False)
        try:
            answers, alive = survey(spark, settings.spark.resources.executors, patience_s)
        finally:
            spark.stop()
    except Exception as error:  # a finding, as with every check
        if is_interrupt(error):
            raise
        said = " ".join(str(error).split())[:200]
        detail = f"{settings.spark.master} ran no task: is its master there, and are cores and memory free? {said}"
        return [Check("cluster executors", False, detail)]
    return compare(facts(), answers, alive, settings.spark.resources.executors)


def survey(spark: SparkSession, wanted: int | None, patience_s: float) -> tuple[list[Answer], int]:
    """Answers of all executors, and how many executors there are, asked in rounds until everyone has answered."""
    answers: list[Answer] = []
    deadline = time.monotonic() + patience_s
    with _given_up_after(spark, patience_s):
        for number in range(1, sys.maxsize):
            try:
                answers = merged([*answers, *_round(spark)])
            except Exception:
                if time.monotonic() < deadline or not answers:
                    raise
            alive = executor_count(spark)
            everyone = len(answers) >= max(alive, wanted or 1)
            if (everyone and number >= ROUNDS) or time.monotonic() > deadline:
                break
    return answers, alive


@contextmanager
def _given_up_after(spark: SparkSession, patience_s: float) -> Iterator[None]:
    """Jobs are cancelled when time is up: a job for which no executor comes waits for ever."""
    timer = threading.Timer(patience_s, spark.sparkContext.cancelAllJobs)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def by_value() -> Iterator[None]:
    """Functions of ``lake.cluster`` are pickled whole meanwhile.

    By reference, an executor would ask its own lake whether it is the right one, and one without any could not answer.
    """
    from pyspark import cloudpickle

    cloudpickle.register_pickle_by_value(lake.cluster)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(lake.cluster)  # type: ignore[no-untyped-call]


def _round(spark: SparkSession) -> list[Answer]:
    tasks = TASKS_PER_SLOT * spark.sparkContext.defaultParallelism
    with by_value():
        asked_at_s = time.time()
        rows = spark.range(0, tasks, numPartitions=tasks).mapInArrow(_ask, "answer string").toArrow()
        answered_at_s = time.time()
    return [
        Answer(said["executor"], said["facts"], said["clock_s"] - answered_at_s, said["clock_s"] - asked_at_s)
        for said in map(json.loads, rows.column("answer").to_pylist())
    ]


def _ask(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Runs on the executor, once a partition."""
    for _batch in batches:
        pass
    clock_s = time.time()
    time.sleep(HOLD_S)
    said = {"executor": process_name(), "facts": facts(), "clock_s": clock_s}
    yield pa.record_batch({"answer": [json.dumps(said)]})
