"""What was erased for good, told by the table ``erasures``: its bytes are not taken in again, whoever brings them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import NotFound
from lake.model import Row
from lake.schema import ERASURES
from lake.tables import Tables, rows_table

if TYPE_CHECKING:
    import pyarrow.dataset as ds

CONTENT, ASSET, ROWS, OBJECT, FILES, VERSIONS, DONE = "content", "asset", "rows", "object", "files", "versions", "done"
"""Kinds of rows: see ``lake.schema.ERASURES``."""


def open_erasures(tables: Tables) -> ds.Dataset | None:
    """The table as it is now; None in a lake that was made before there was one. Nobody who works sees it change."""
    try:
        return tables.dataset("erasures")
    except NotFound:
        return None


def erased_contents(
    erasures: ds.Dataset | None, column: str, values: Collection[str] | Collection[int]
) -> dict[str, int]:
    """Erased contents, with their sizes in bytes, whose ``name`` (a sha256) or ``size_bytes`` is one of these."""
    if erasures is None:
        return {}
    among = pc.field(column).isin(pa.array(sorted(values), ERASURES.field(column).type))
    wanted = (pc.field("kind") == CONTENT) & among
    found = erasures.to_table(columns=["name", "size_bytes"], filter=wanted)
    return dict(zip(found.column("name").to_pylist(), found.column("size_bytes").to_pylist(), strict=True))


def erased_at(tables: Tables, name: str) -> datetime | None:
    """When the content or the asset of this name was erased; None when it was not."""
    dataset = open_erasures(tables)
    if dataset is None:
        return None
    wanted = (pc.field("name") == name) & pc.field("kind").isin([CONTENT, ASSET])
    times: list[datetime] = dataset.to_table(columns=["at_utc"], filter=wanted).column(0).to_pylist()
    return min(times, default=None)


@dataclass(frozen=True)
class Begun:
    """Erasures that were begun and not ended."""

    ids: frozenset[str]
    contents: frozenset[str]
    assets: frozenset[str]
    tables: frozenset[str]
    """Tables that have, or had, rows of them."""


def begun(tables: Tables) -> Begun:
    """What a killed erasure, or one that could not clear everything, left to be done."""
    dataset = open_erasures(tables)
    columns = ["erasure_id", "kind", "name"]
    wanted = pc.field("kind").isin([CONTENT, ASSET, ROWS, DONE])
    rows = dataset.to_table(columns=columns, filter=wanted).to_pylist() if dataset else []
    ended = {row["erasure_id"] for row in rows if row["kind"] == DONE}
    rows = [row for row in rows if row["erasure_id"] not in ended]
    names = (frozenset(row["name"] for row in rows if row["kind"] == kind) for kind in (CONTENT, ASSET, ROWS))
    return Begun(frozenset(row["erasure_id"] for row in rows), *names)


def certify(tables: Tables, rows: Iterable[Row]) -> None:
    """Append rows to ``erasures``; a lake made before there was such a table gets it."""
    tables.create("erasures", ERASURES)
    tables.append("erasures", rows_table(list(rows), ERASURES))
