"""Tasks on Spark: one row a task, one ``mapInArrow`` over them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from lake.engine.base import VISIBLE_GPUS, TaskFunction, TaskOutput

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

TASK = pa.schema([("task", pa.binary())])
GPU = "gpu"
"""Spark's name of the resource."""


class SparkEngine:
    """Runs tasks on the cluster of the session it is given; each is a partition of its own."""

    name = "spark"

    def __init__(self, spark: SparkSession, slots: int, *, gpu_slots: int = 0, tasks_per_gpu: int = 1) -> None:
        self.spark = spark
        self.slots = slots
        self.gpu_slots = gpu_slots
        self.tasks_per_gpu = tasks_per_gpu

    def run(self, tasks: Sequence[bytes], function: TaskFunction, *, gpu: bool = False) -> Iterator[TaskOutput]:
        if not tasks:
            return
        profile = gpu_profile(self.tasks_per_gpu) if gpu and self.gpu_slots else None
        rows = self.spark.createDataFrame(pa.table({"task": list(tasks)}, schema=TASK))
        # One partition first: only then does the round robin put exactly one task into each.
        spread = rows.coalesce(1).repartition(len(tasks)) if len(tasks) > 1 else rows.coalesce(1)
        outputs = spread.mapInArrow(_adapted(function), "task binary", profile=profile).toArrow()
        for chunk in outputs.column("task").iterchunks():
            for value in chunk:
                yield value.as_py()

    def close(self) -> None:
        """The session belongs to who built it."""


def gpu_profile(tasks_per_gpu: int) -> ResourceProfile:
    """What each task of a stage asks for: a core, and a GPU or its share of one.

    It asks nothing of executors: those that are there have GPUs (``spark.executor.resource.gpu.amount``), and stages
    without a profile run on the same ones and leave the GPUs alone.
    """
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    asked = TaskResourceRequests().cpus(1).resource(GPU, 1 / tasks_per_gpu)
    return ResourceProfileBuilder().require(asked).build  # type: ignore[no-any-return]


def _adapted(function: TaskFunction):  # type: ignore[no-untyped-def]
    """The task function as ``mapInArrow`` wants it. Runs on the executor, once a partition."""

    def batches(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with _own_gpu():
            for batch in rows:
                for task in batch.column(0):
                    for output in function(task.as_py()):
                        yield pa.record_batch({"task": [output]}, schema=TASK)

    return batches


@contextmanager
def _own_gpu() -> Iterator[None]:
    """Show this worker, and a child that it starts, the GPU that Spark dealt to the task. Runs on the executor."""
    from pyspark import TaskContext

    context = TaskContext.get()
    dealt = context.resources().get(GPU) if context is not None else None
    if dealt is None:
        yield
        return
    before = os.environ.get(VISIBLE_GPUS)
    os.environ[VISIBLE_GPUS] = ",".join(dealt.addresses)
    try:
        yield
    finally:
        os.environ.pop(VISIBLE_GPUS)
        if before is not None:  # the worker's next task may have none dealt
            os.environ[VISIBLE_GPUS] = before
