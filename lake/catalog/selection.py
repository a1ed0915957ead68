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
    if "sha256" in rows.column_names:
        return set(rows.column("sha256").drop_null().to_pylist())
    if "asset_id" in rows.column_names:
        return contents_where(tables, "asset_id", set(rows.column("asset_id").drop_null().to_pylist()))
    raise UsageError('the query must name a column asset_id or sha256: --query "SELECT asset_id FROM assets WHERE …"')
