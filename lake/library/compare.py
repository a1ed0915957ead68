"""How two versions of a table differ, counted by key; only the counts come to the driver."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def differences(new: DataFrame, old: DataFrame, key: Sequence[str]) -> tuple[int, int, int]:
    """How many rows were added, changed and removed, matched by key. Only the counts come to the driver."""
    from pyspark.sql import functions as F

    kinds = dict(old.dtypes)
    if any(kinds.get(column) != kind for column, kind in new.dtypes if column in key):
        return first_row(new.agg(F.count(F.lit(1))))[0], 0, first_row(old.agg(F.count(F.lit(1))))[0]
    left = new.select(*key, _row_hash(new).alias("__new"))
    right = old.select(*key, _row_hash(old).alias("__old"))
    counts = first_row(
        left.join(right, list(key), "full_outer").agg(
            F.count_if(F.col("__old").isNull()),
            F.count_if(F.col("__new") != F.col("__old")),
            F.count_if(F.col("__new").isNull()),
        )
    )
    return counts[0], counts[1], counts[2]


def _row_hash(frame: DataFrame) -> Column:
    """64 bits of all columns and their names. Spark's hash skips nulls, so which ones are null is hashed beside."""
    from pyspark.sql import functions as F

    exact = {"ignoreNullFields": "false", "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"}
    parts: list[Column] = [F.lit(",".join(sorted(frame.columns)))]
    for name, kind in sorted(frame.dtypes):
        column = F.col(f"`{name}`")
        nested = kind.startswith(("array", "map", "struct"))
        parts += [F.to_json(column, exact) if nested else column, column.isNull()]
    return F.xxhash64(*parts)


def first_row(frame: DataFrame) -> list[int]:
    """The numbers of a one-row aggregate."""
    return [int(value) for value in frame.collect()[0]]
