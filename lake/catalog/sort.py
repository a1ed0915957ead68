"""A table's rows written anew in the order they are looked up by: statistics then tell what need not be read. No JVM.

Row groups get a Bloom filter besides, of the column that batches of values are looked up by (``lake.store.lookup``).
delta-rs's Z-order does not serve: of a text it sees the first 15 characters, and sources and keys share more than that.
Runs on the driver; memory is bounded, what does not fit is spilled.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from lake.file_statistics import both_statistics, statistics
from lake.store.lookup import FALSE_SHARE, FILTERED, SORTED_PREFIX
from lake.table_files import new_file
from lake.tables import MERGED_FILE_BYTES, SMALL_FILE_BYTES, Tables

if TYPE_CHECKING:
    from deltalake.transaction import AddAction

SORT_MEMORY = "1GB"
SORTED_GROUP_ROWS = 32 * 1024
"""Rows of a row group: what a look-up of one value reads."""


def sort_table(tables: Tables, name: str, order: Sequence[str], *, target_bytes: int = MERGED_FILE_BYTES) -> None:
    """Write all rows of a table anew, ascending by these columns, nulls last, in files of about ``target_bytes``.

    One commit; tried again from a new reading when other writers took a file away meanwhile. It says that rows change,
    though none does: of one that says it changes none delta-rs does not see that it takes away files which are gone.
    """

    def once() -> int:
        from deltalake.transaction import RemoveAction

        table = tables.open(name)
        dataset = tables.dataset_of(name, table)
        at_ms = int(time.time() * 1000)
        actions: list[Any] = [RemoveAction(fragment.path, True, at_ms) for fragment in dataset.get_fragments()]
        with tempfile.TemporaryDirectory(prefix="lake-sort-") as scratch:
            actions += write_files(tables, name, dataset.schema, _ordered(dataset, order, scratch), target_bytes)
        tables.commit(name, table, actions, {})
        return 0

    tables.retried(name, once)


def is_loose(tables: Tables, name: str, large_bytes: int = SMALL_FILE_BYTES) -> bool:
    """Whether a large file of a table is in no known order: one that rows were changed in was written anew."""
    files = tables.open(name).get_add_actions(flatten=True)
    return any(
        size_bytes >= large_bytes and not path.startswith(SORTED_PREFIX)
        for path, size_bytes in zip(files["path"].to_pylist(), files["size_bytes"].to_pylist(), strict=True)
    )


def _ordered(dataset: Any, order: Sequence[str], scratch: str) -> Iterator[pa.RecordBatch]:
    import duckdb

    columns = ", ".join('"' + column.replace('"', '""') + '"' for column in order)
    with duckdb.connect(":memory:", config={"memory_limit": SORT_MEMORY, "temp_directory": scratch}) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register("unordered", dataset)
        yield from db.sql(f"FROM unordered ORDER BY {columns}").to_arrow_reader(SORTED_GROUP_ROWS)


def write_files(
    tables: Tables,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    target_bytes: int = MERGED_FILE_BYTES,
) -> Iterator[AddAction]:
    """Write batches, a row group each, into files of about ``target_bytes``; yields the action that adds each file.

    The log gets statistics of all columns: where it has those of some, deltalake 1.6.6 takes the others for null.
    """
    remaining = iter(batches)
    while (first := next(remaining, None)) is not None:
        yield _one_file(tables, name, schema, first, remaining, target_bytes)


def _one_file(
    tables: Tables,
    name: str,
    schema: pa.Schema,
    batch: pa.RecordBatch | None,
    following: Iterator[pa.RecordBatch],
    target_bytes: int,
) -> AddAction:
    from deltalake.transaction import AddAction

    path = f"{SORTED_PREFIX}{uuid.uuid4().hex}.zstd.parquet"
    filters = {FILTERED[name]: {"ndv": SORTED_GROUP_ROWS, "fpp": FALSE_SHARE}} if name in FILTERED else None
    known: dict[str, Any] = {}
    with (
        new_file(tables.filesystem(name), path) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", compression_level=1, bloom_filter_options=filters) as writer,
    ):
        while batch is not None:
            rows = pa.table(batch).cast(schema)
            writer.write_table(rows, row_group_size=SORTED_GROUP_ROWS)
            known = both_statistics(known, statistics(rows))
            batch = next(following, None) if sink.tell() < target_bytes else None
        writer.close()
        size_bytes = sink.tell()
    return AddAction(path, size_bytes, {}, int(time.time() * 1000), True, json.dumps(known))
