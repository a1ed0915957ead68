"""A table's new rows measured against its published ones, by key; only counts come to the driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Measured:
    """What one pass over the new and the published rows of a table finds."""

    rows: int
    null_keys: int
    """Rows in which a column of the key is null."""
    repeated: int
    """Rows whose key an earlier row has already."""
    added: int
    changed: int
    removed: int
    marked: dict[str, int]
    """How many rows each mark is true of."""


def measure(new: DataFrame, old: DataFrame | None, key: Sequence[str], marks: Mapping[str, Column]) -> Measured:
    """Count rows, keys, marks and differences in one query with one shuffle. ``old`` has a key of the same types."""
    from pyspark.sql import functions as F

    null_key = F.lit(False)
    for column in key:
        null_key = null_key | F.col(column).isNull()
    named = {"__null_key": null_key, **{f"__mark{index}": mark for index, mark in enumerate(marks.values())}}
    hashed = _row_hash(new).alias("__hash")
    rows = new.select(*key, hashed, F.lit(1).alias("__new"), *(_one(c).alias(n) for n, c in named.items()))
    if old is not None:
        nothing = (F.lit(0).alias(name) for name in named)
        rows = rows.unionAll(old.select(*key, _row_hash(old).alias("__hash"), F.lit(0).alias("__new"), *nothing))
    is_new, is_old = F.col("__new") == 1, F.col("__new") == 0
    keys = rows.groupBy(*key).agg(
        F.count_if(is_new).alias("__news"),
        F.count_if(is_old).alias("__olds"),
        F.max(F.when(is_new, F.col("__hash"))).alias("__new_hash"),
        F.max(F.when(is_old, F.col("__hash"))).alias("__old_hash"),
        *(F.sum(name).alias(name) for name in named),
    )
    news, olds = F.col("__news"), F.col("__olds")
    counted = first_row(
        keys.agg(
            F.sum(news),
            F.sum(F.greatest(news - 1, F.lit(0))),
            F.count_if((news > 0) & (olds == 0)),
            F.count_if((news > 0) & (olds > 0) & (F.col("__new_hash") != F.col("__old_hash"))),
            F.count_if(news == 0),
            *(F.sum(name) for name in named),
        )
    )
    total, repeated, added, changed, removed, null_keys, *marked = counted
    return Measured(total, null_keys, repeated, added, changed, removed, dict(zip(marks, marked, strict=True)))


def first_row(frame: DataFrame) -> list[int]:
    """The numbers of a one-row aggregate; a sum over no rows is 0."""
    return [int(value or 0) for value in frame.collect()[0]]


def _one(condition: Column) -> Column:
    """1 where a condition is true; 0 where it is false or unknown."""
    from pyspark.sql import functions as F

    return F.coalesce(condition, F.lit(False)).cast("int")


def _row_hash(frame: DataFrame) -> Column:
    """64 bits of all columns and their names. Spark's hash skips nulls, so which ones are null is hashed beside."""
    from pyspark.sql import functions as F

    exact = {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
    parts: list[Column] = [F.lit(",".join(sorted(frame.columns)))]
    for name, kind in sorted(frame.dtypes):
        column = F.col(quoted(name))
        nested = kind.startswith(("array", "map", "struct"))
        parts += [F.to_json(column, exact) if nested else column, column.isNull()]
    return F.xxhash64(*parts)


def looks(frame: DataFrame) -> list[tuple[str, str, str]]:
    """Name, type and comment of each column: what a table shows besides its rows."""
    return [(each.name, each.dataType.simpleString(), each.metadata.get("comment", "")) for each in frame.schema]


def quoted(name: str) -> str:
    """A column's name as SQL takes it, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"
