"""What a data file's entry in the log says of its columns (Delta protocol, per-file statistics). Pure.

The same columns as delta-rs says it of, all of them: one that is left out, while others are not, deltalake 1.6.6 takes
for null in every row, and one without least and greatest value for one that has no value to be found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

FLOAT32_MAX = 3.4028234663852886e38
PER_COLUMN: dict[str, Callable[[Any, Any], Any]] = {"minValues": min, "maxValues": max, "nullCount": lambda a, b: a + b}
"""How two parts of a file make up what is said of the whole."""


def statistics(rows: pa.Table) -> dict[str, Any]:
    """Number of rows; nulls, least and greatest value of each column and field of a struct, but of bytes and lists."""
    found: dict[str, Any] = {"numRecords": rows.num_rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    for field, column in zip(rows.schema, rows.columns, strict=True):
        if pa.types.is_struct(field.type):
            parts = pa.table(column.combine_chunks().flatten(), names=[each.name for each in field.type])
            inner = statistics(parts)
            for key in PER_COLUMN:
                found[key][field.name] = inner[key]
        elif not (pa.types.is_nested(field.type) or _is_bytes(field.type)):
            found["nullCount"][field.name] = column.null_count
            if column.null_count < len(column):
                ends = _float_ends(column) if pa.types.is_floating(field.type) else pc.min_max(column).as_py()
                found["minValues"][field.name] = _plain(ends["min"])
                found["maxValues"][field.name] = _plain(ends["max"], last=True)
    return found


def both_statistics(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What a file's entry says of two parts of it together."""
    if not one:
        return other
    both = {key: _both(one[key], other[key], chosen) for key, chosen in PER_COLUMN.items()}
    return {"numRecords": one["numRecords"] + other["numRecords"], **both}


def _both(one: dict[str, Any], other: dict[str, Any], chosen: Callable[[Any, Any], Any]) -> dict[str, Any]:
    both = {**one, **other}
    for column in one.keys() & other.keys():
        mine, its = one[column], other[column]
        both[column] = _both(mine, its, chosen) if isinstance(mine, dict) else chosen(mine, its)
    return both


def _float_ends(column: pa.ChunkedArray) -> dict[str, float]:
    """Bounds of a column of floats: the widest where it has NaN or infinity, which JSON has not.

    Arrow takes any bounds to say that there is no NaN: ``is_nan`` finds none by a filter, in files of delta-rs too.
    """
    if pc.all(pc.is_finite(column)).as_py():
        ends: dict[str, float] = pc.min_max(column).as_py()
        return ends
    widest = FLOAT32_MAX if column.type == pa.float32() else sys.float_info.max
    return {"min": -widest, "max": widest}


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _plain(value: Any, *, last: bool = False) -> Any:
    """A value as JSON has it. Of times milliseconds, as the protocol wants; the greatest is rounded up."""
    if isinstance(value, datetime):
        at = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        millis = at.microsecond // 1000 + (last and at.microsecond % 1000 > 0)
        whole = int(at.replace(microsecond=0).timestamp()) + millis // 1000
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{millis % 1000:03}Z"
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value
