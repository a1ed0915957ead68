"""Changing rows of the lake's Delta tables: files that have such rows are written anew, in one commit. No JVM.

delta-rs's own merge, update and delete do not serve: the files they write declare Arrow's view types, and pyarrow
refuses to filter such a file by its statistics (deltalake 1.6.6, pyarrow 26: "no kernel matching input types"). So
files are written by pyarrow and committed by delta-rs, which refuses when another commit took one of the files away.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.file_statistics import statistics
from lake.table_files import new_file
from lake.tables import ROW_GROUP_ROWS, Tables

if TYPE_CHECKING:
    import pyarrow.dataset as ds

REWRITES = "lakeRewrites"
"""Key in the commit's information: such a commit takes rows out, though delta-rs calls it an append."""

ADDING = ("WRITE", "CREATE TABLE", "OPTIMIZE", "VACUUM START", "VACUUM END", "STREAMING UPDATE")
"""Operations of a commit that take no row out."""

Change = Callable[[pa.Table], tuple[pa.Table, int]]
"""A file's rows to what is to stand for them, and how many of them changed."""


def update_rows(tables: Tables, name: str, rows: pa.Table, *, on: Mapping[str, str], keep: Sequence[str] = ()) -> int:
    """Set columns of rows that exist already, found where each column of ``on`` equals that column of ``rows``.

    Set are the columns of ``rows`` less those in ``keep`` and those that only find. Returns how many rows changed.
    """
    new = rows.select(list(on.values())).to_pylist()
    place = {tuple(key[column] for column in on.values()): number for number, key in enumerate(new)}
    settable = [column for column in rows.column_names if column not in (*on.values(), *keep)]

    def change(old: pa.Table) -> tuple[pa.Table, int]:
        keys = zip(*(old.column(column).to_pylist() for column in on), strict=True)
        numbers = pa.array([place.get(key) for key in keys], pa.int64())
        changed = pc.is_valid(numbers)
        for column in settable:
            at = old.schema.get_field_index(column)
            values = rows.column(column).take(numbers).cast(old.schema.field(at).type)
            old = old.set_column(at, old.schema.field(at), _chosen(changed, values, old.column(at)))
        return old, int(pc.sum(changed).as_py() or 0)

    first_old, first_new = next(iter(on.items()))
    return rewrite(tables, name, first_old, rows.column(first_new).to_pylist(), change)


def _chosen(changed: pa.Array, new: pa.ChunkedArray, old: pa.ChunkedArray) -> pa.ChunkedArray:
    """New values where changed, else old: by taking, for ``if_else`` knows no structs with nulls in all versions."""
    both = pa.chunked_array([*old.chunks, *new.chunks], old.type)
    count = len(old)
    picks = [count + row if is_new else row for row, is_new in enumerate(changed.to_pylist())]
    return both.take(pa.array(picks, pa.int64()))


def masked(rows: pa.Table, where: pa.ChunkedArray, values: Mapping[str, str | None]) -> pa.Table:
    """Rows with these texts in their columns wherever ``where`` is true. Pure."""
    for name, value in values.items():
        at = rows.schema.get_field_index(name)
        changed = pc.if_else(where, pa.scalar(value, pa.string()), rows.column(name))
        rows = rows.set_column(at, rows.schema.field(at), changed)
    return rows


def delete_rows(tables: Tables, name: str, column: str, values: Iterable[str]) -> int:
    """Delete the rows that have one of these values in a column, and return how many they were."""
    wanted = sorted(set(values))
    among = pa.array(wanted, pa.string())

    def change(old: pa.Table) -> tuple[pa.Table, int]:
        kept = old.filter(pc.invert(pc.fill_null(pc.is_in(old.column(column), among), False)))
        return kept, old.num_rows - kept.num_rows

    return rewrite(tables, name, column, wanted, change)


def rewrite(tables: Tables, name: str, column: str, values: Sequence[Any], change: Change) -> int:
    """Replace each file that has rows with one of ``values`` in ``column`` by what ``change`` makes of its rows.

    One commit, tried again from a new reading when other writers are first; none when nothing changed.
    """
    if not values:
        return 0

    def once() -> int:
        from deltalake.transaction import AddAction, RemoveAction

        table = tables.open(name)
        dataset = tables.dataset_of(name, table)
        wanted = pc.field(column).isin(pa.array(sorted(set(values)), dataset.schema.field(column).type))
        actions: list[AddAction | RemoveAction] = []
        changed = 0
        for fragment in dataset.get_fragments(filter=wanted):
            old = _read(dataset, fragment)
            new, count = change(old)
            if not count:
                continue
            changed += count
            actions.append(RemoveAction(fragment.path, True, int(time.time() * 1000)))
            if new.num_rows:
                actions.append(_written(tables, name, new))
        if changed:
            tables.commit(name, table, actions, {REWRITES: changed})
        return changed

    return tables.retried(name, once)


def _read(dataset: ds.Dataset, fragment: ds.Fragment) -> pa.Table:
    import pyarrow.dataset as ds

    one = ds.FileSystemDataset([fragment], dataset.schema, fragment.format, fragment.filesystem)
    return one.to_table()


def _written(tables: Tables, name: str, rows: pa.Table) -> Any:
    """Write a file and return the action that adds it."""
    from deltalake.transaction import AddAction

    path = f"part-{uuid.uuid4().hex}.zstd.parquet"
    filesystem = tables.filesystem(name)
    with new_file(filesystem, path) as sink:
        pq.write_table(rows, sink, compression="zstd", compression_level=1, row_group_size=ROW_GROUP_ROWS)
        size = sink.tell()
    return AddAction(path, size, {}, int(time.time() * 1000), True, json.dumps(statistics(rows)))


def all_rewrites(history: Iterable[Mapping[str, Any]]) -> Iterator[int]:
    """Versions, newest first, that took rows out."""
    for commit in history:
        if REWRITES in commit or commit["operation"] not in ADDING:
            yield int(commit["version"])
