"""Taking rows out of published libraries, and publishing them anew without: what an erasure asks. No JVM."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from lake.delta_errors import delta_errors
from lake.library.catalog import newest_rows, published_tables
from lake.model import Row
from lake.rewrite import delete_rows
from lake.schema import LIBRARY_VERSIONS
from lake.store.objects import ObjectInfo, ObjectStore
from lake.tables import Tables, rows_table

ORIGINS = ("sha256", "asset_id")
"""Columns that lead from a row of a library to its recording; the first that a table has is taken."""


def origin(tables: Tables, name: str, version: int | None = None) -> str | None:
    """The column of a table that leads to recordings, or None when it has none."""
    columns = tables.dataset(name, version).schema.names
    return next((column for column in ORIGINS if column in columns), None)


def rows_of(tables: Tables, name: str, contents: Collection[str], assets: Collection[str], version: int) -> int:
    """How many rows of a published library table come from these recordings."""
    column = origin(tables, name, version)
    if column is None:
        return 0
    wanted = pc.field(column).isin(pa.array(sorted(contents if column == "sha256" else assets), pa.string()))
    return int(tables.dataset(name, version).count_rows(filter=wanted))


def without_origin(tables: Tables, touched: Collection[str]) -> list[str]:
    """Libraries with a published table whose rows lead to no recording, made of one of the tables ``touched``.

    Only a new build takes recordings out of it.
    """

    def leads_nowhere(library: str, row: Row) -> bool:
        return bool(row["rows"]) and origin(tables, f"{library}.{row['table']}", row["delta_version"]) is None

    return [
        library
        for library, rows in newest_rows(tables).items()
        if not json.loads(rows[0]["inputs"]).keys().isdisjoint(touched)
        and any(leads_nowhere(library, row) for row in rows)
    ]


def withdraw(
    tables: Tables, contents: Collection[str], assets: Collection[str], run_id: str, at: datetime
) -> dict[str, int]:
    """Delete the rows of these recordings from every published table, and publish each library that had some anew.

    Returns the number of rows by table. What a killed build left above a published version goes too. A call that was
    killed is completed by the next: readers see the version before until the new one is published.
    """
    removed: dict[str, int] = {}
    for library, rows in newest_rows(tables).items():
        versions: list[Row] = []
        for row in rows:
            name = f"{library}.{row['table']}"
            _restore(tables, name, row["delta_version"])
            column = origin(tables, name)
            values = contents if column == "sha256" else assets
            gone = delete_rows(tables, name, column, values) if column else 0
            if gone:
                removed[name] = gone
            versions.append(_version(row, gone, int(tables.open(name).version()), run_id, at))
        if any(
            row["removed"] or row["delta_version"] != old["delta_version"]
            for row, old in zip(versions, rows, strict=True)
        ):
            txn = (f"library:{library}", versions[0]["version"])
            tables.append("library_versions", rows_table(versions, LIBRARY_VERSIONS), txn=txn)
    return removed


def unpublished(store: ObjectStore, tables: Tables) -> list[ObjectInfo]:
    """Files below ``libraries`` of tables that no newest published version has: a killed first build leaves such."""
    published = {tables.folder(name) for name in published_tables(tables)}
    return [entry for entry in store.list("libraries") if "/".join(entry.key.split("/")[:3]) not in published]


def _restore(tables: Tables, name: str, version: int) -> None:
    """Make the published version the newest again where a killed build left one above it."""
    table = tables.open(name)
    if int(table.version()) != version:
        with delta_errors(tables.uri(name)):
            table.restore(version)


def _version(row: Row, gone: int, delta_version: int, run_id: str, at: datetime) -> Row:
    counts = {"rows": row["rows"] - gone, "added": 0, "changed": 0, "removed": gone}
    return {
        **row,
        **counts,
        "version": row["version"] + 1,
        "delta_version": delta_version,
        "built_at_utc": at,
        "run_id": run_id,
    }
