"""Results of a task on their way to files of the feature tables. Works on the executor."""

from __future__ import annotations

import io
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from lake.model import Row
from lake.pressure import PRESSURE
from lake.store.objects import ObjectStore
from lake.tables import DataFile

FLUSH_BYTES = 32 * 1024 * 1024
"""Results that are held before they become a file, while memory is not short."""
TOGETHER_BYTES = 256 * 1024
"""Answers that are converted at once: to convert each small one by itself takes ten times as long."""


@dataclass(frozen=True)
class Found:
    """What one analysis found in one recording."""

    analysis: str
    origin: Row
    """The columns of provenance, which all rows have."""
    rows: list[Row]
    size_bytes: int
    """Of the answer that it came in, about what it takes in memory."""

    def table_rows(self) -> list[Row]:
        """Where nothing was found, one row says so (see ``lake.schema.feature_schema``)."""
        return [{**row, **self.origin} for row in self.rows] or [self.origin]


@dataclass(frozen=True)
class Unfit:
    """What fits no table, and why."""

    found: Found
    why: str


class Results:
    """Rows of each analysis, as Parquet files in the store once there are enough of them."""

    def __init__(self, store: ObjectStore, schemas: Mapping[str, pa.Schema], folders: Mapping[str, str]) -> None:
        """``folders`` are the keys of the feature tables' folders below the root; both by analysis."""
        self.files: dict[str, list[DataFile]] = defaultdict(list)
        self.done: dict[str, int] = defaultdict(int)
        """Recordings whose rows are in the files, or will be after ``flush``."""
        self.rows = 0
        """What was found in them."""
        self._store = store
        self._schemas = dict(schemas)
        self._folders = folders
        self._waiting: dict[str, list[Found]] = defaultdict(list)
        self._waiting_bytes = 0
        self._batches: dict[str, list[pa.RecordBatch]] = defaultdict(list)
        self._batches_bytes = 0

    def add(self, found: Found) -> list[Unfit]:
        """Keep it; gives what turned out to fit no table, of this one and of those before it."""
        self._waiting[found.analysis].append(found)
        self._waiting_bytes += found.size_bytes
        return self._convert() if self._waiting_bytes >= TOGETHER_BYTES else []

    def flush(self) -> list[Unfit]:
        """Write what is left."""
        unfit = self._convert()
        self._write()
        return unfit

    def _convert(self) -> list[Unfit]:
        unfit: list[Unfit] = []
        for analysis, waiting in self._waiting.items():
            if self._keep(analysis, waiting) is not None:
                for found in waiting:  # what fits no table is the failure of one recording
                    why = self._keep(analysis, [found])
                    unfit += [] if why is None else [Unfit(found, why)]
        self._waiting.clear()
        self._waiting_bytes = 0
        if self._batches_bytes > PRESSURE.bound(FLUSH_BYTES):
            self._write()
        return unfit

    def _keep(self, analysis: str, several: Sequence[Found]) -> str | None:
        """Make a batch of them; why they fit none, if they do not."""
        try:
            rows = [row for found in several for row in found.table_rows()]
            batch = pa.RecordBatch.from_pylist(rows, schema=self._schemas[analysis])
        except (ValueError, TypeError, OverflowError) as error:
            return " ".join(str(error).split())
        self._batches[analysis].append(batch)
        self._batches_bytes += batch.nbytes
        self.done[analysis] += len(several)
        self.rows += sum(len(found.rows) for found in several)
        return None

    def _write(self) -> None:
        for analysis, batches in self._batches.items():
            table = pa.Table.from_batches(batches, self._schemas[analysis])
            buffer = io.BytesIO()
            pq.write_table(table, buffer, compression="zstd", compression_level=9)
            file = f"part-{uuid.uuid4().hex}.zstd.parquet"
            self._store.put(f"{self._folders[analysis]}/{file}", buffer.getvalue())
            self.files[analysis].append(DataFile(file, buffer.tell(), int(time.time() * 1000), table.num_rows))
        self._batches.clear()
        self._batches_bytes = 0
