"""What Spark itself counts of the bytes that its JVM moves for Python tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SENT, RETURNED = "data sent to Python workers", "data returned from Python workers"
UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


class JvmTraffic:
    """Bytes of the queries that ran while the context lasted, from Spark's own stores of metrics."""

    def __init__(self, spark: SparkSession) -> None:
        self._queries = spark._jsparkSession.sharedState().statusStore()
        self._stages = spark.sparkContext._jsc.sc().statusStore()
        self._first = 0
        self._end = 0

    def __enter__(self) -> JvmTraffic:
        self._first = self._queries.executionsList().size()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end = self._queries.executionsList().size()

    def total_bytes(self) -> dict[str, int]:
        """Bytes to and from the Python workers, of shuffles, inputs and results of tasks."""
        found = dict.fromkeys(("to_python", "from_python", "input", "shuffle", "result"), 0)
        for query in self._ran():
            values = self._queries.executionMetrics(query.executionId())
            for metric in _items(query.metrics()):
                text = values.get(metric.accumulatorId())
                if metric.name() in (SENT, RETURNED) and text.isDefined():
                    found["to_python" if metric.name() == SENT else "from_python"] += _bytes(text.get())
            for number in _items(query.stages().toSeq()):
                stage = self._stages.lastStageAttempt(number)
                found["input"] += stage.inputBytes()
                found["shuffle"] += stage.shuffleReadBytes() + stage.shuffleWriteBytes()
                found["result"] += stage.resultSize()
        return found

    def _ran(self) -> Iterator[Any]:
        queries = self._queries.executionsList()
        for number in range(self._first, self._end):
            yield queries.apply(number)


def _items(sequence: Any) -> Iterator[Any]:
    for number in range(sequence.size()):
        yield sequence.apply(number)


def _bytes(said: str) -> int:
    """Of Spark's text for people, the total: ``total (min, med, max …)`` and, below it, ``9.1 KiB (…)``."""
    number, unit = re.search(r"([\d.,]+) (\w+)", said.splitlines()[-1]).groups()  # type: ignore[union-attr]
    return round(float(number.replace(",", "")) * UNITS[unit])
