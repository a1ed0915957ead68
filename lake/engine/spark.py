"""Tasks on Spark: one row a task, one ``mapInArrow`` over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from lake.engine.base import TaskFunction, TaskOutput

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

TASK = pa.schema([("task", pa.binary())])


class SparkEngine:
    """Runs tasks on the cluster of the session it is given; each is a partition of its own."""

    name = "spark"

    def __init__(self, spark: SparkSession, slots: int) -> None:
        self.spark = spark
        self.slots = slots

    def run(self, tasks: Sequence[bytes], function: TaskFunction) -> Iterator[TaskOutput]:
        if not tasks:
            return
        rows = self.spark.createDataFrame(pa.table({"task": list(tasks)}, schema=TASK))
        # One partition first: only then does the round robin put exactly one task into each.
        spread = rows.coalesce(1).repartition(len(tasks)) if len(tasks) > 1 else rows.coalesce(1)
        outputs = spread.mapInArrow(_adapted(function), "task binary").toArrow()
        for chunk in outputs.column("task").iterchunks():
            for value in chunk:
                yield value.as_py()

    def close(self) -> None:
        """The session belongs to who built it."""


def _adapted(function: TaskFunction):  # type: ignore[no-untyped-def]
    """The task function as ``mapInArrow`` wants it. Runs on the executor, once a partition."""

    def batches(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            for task in batch.column(0):
                for output in function(task.as_py()):
                    yield pa.record_batch({"task": [output]}, schema=TASK)

    return batches
