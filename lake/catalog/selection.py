"""Which recordings are meant: by asset id or sha256, by device, or by a query. No JVM."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lake.catalog.query import local_sql
from lake.catalog.read import content_of
from lake.errors import NotFound, UsageError
from lake.tables import Tables


def chosen_contents(
    tables: Tables, names: Sequence[str] = (), devices: Sequence[str] = (), query: str | None = None
) -> set[str]:
    """The sha256 of all recordings that are named one way or the other. Runs on the driver.

    Raises:
        NotFound: a name or a device that there is nothing of.
        UsageError: a query that is none, or has neither a column ``asset_id`` nor ``sha256``.
    """
    found = {content_of(tables, name) for name in names}
    for device in devices:
        its = contents_where(tables, "device_id", [device])
        if not its:
            raise NotFound(f"no recording of device {device!r} in {tables.root}: see the table assets")
        found |= its
    if query is not None:
        found |= _queried(tables, query)
    return found


def contents_where(tables: Tables, column: str, values: Collection[str]) -> set[str]:
    """Contents of the assets that have one of these values in a column."""
    wanted = pc.field(column).isin(pa.array(sorted(values), pa.string()))
    return set(tables.dataset("assets").to_table(columns=["sha256"], filter=wanted).column(0).to_pylist())


def _queried(tables: Tables, query: str) -> set[str]:
    rows = local_sql(tables, query)
    column = naming_column(rows, ("sha256", "asset_id"), '--query "SELECT asset_id FROM assets WHERE …"')
    named = set(rows.column(column).drop_null().to_pylist())
    return named if column == "sha256" else contents_where(tables, "asset_id", named)


def naming_column(rows: pa.Table, columns: Sequence[str], example: str) -> str:
    """The first of these columns that the rows of a query have; ``UsageError`` shows an example when there is none."""
    for column in columns:
        if column in rows.column_names:
            return column
    raise UsageError(f"the query must name a column asset_id or sha256: {example}")
