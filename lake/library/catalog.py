"""Which libraries there are, and their tables at the published version. No JVM is started here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from lake.errors import NotFound
from lake.library.spec import Theme, nearest
from lake.model import Row
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds


COUNTS = ("rows", "added", "changed", "removed", "delta_version")
"""What ``library_versions`` says of a table in numbers."""


def newest_rows(tables: Tables, library: str | None = None) -> dict[str, list[Row]]:
    """Rows of ``library_versions`` of each library's published version, which is the newest one recorded."""
    wanted = None if library is None else pc.field("library") == library
    found: dict[str, list[Row]] = {}
    for row in tables.dataset("library_versions").to_table(filter=wanted).to_pylist():
        newest = found.setdefault(row["library"], [])
        if newest and row["version"] < newest[0]["version"]:
            continue
        if newest and row["version"] > newest[0]["version"]:
            newest.clear()
        newest.append(row)
    return {name: sorted(rows, key=lambda row: str(row["table"])) for name, rows in sorted(found.items())}


def published(tables: Tables, library: str) -> dict[str, int]:
    """Delta version of each table of a library at its published version; empty when it was never built."""
    return {row["table"]: row["delta_version"] for row in newest_rows(tables, library).get(library, [])}


def published_tables(tables: Tables) -> dict[str, int]:
    """Delta version of all published tables of all libraries, by ``<library>.<table>``."""
    return {
        f"{library}.{row['table']}": row["delta_version"]
        for library, rows in newest_rows(tables).items()
        for row in rows
    }


def library_dataset(tables: Tables, library: str, table: str, version: int | None = None) -> ds.Dataset:
    """One table of a library as a dataset, at the published or at an older version of the library.

    Raises:
        NotFound: names what there is instead.
    """
    recorded = tables.dataset("library_versions").to_table(
        columns=["version", "table", "delta_version"], filter=pc.field("library") == library
    )
    rows: list[Row] = recorded.to_pylist()
    if not rows:
        raise NotFound(f"library {library!r} was never built: run `lake library build {library}`")
    wanted = max(row["version"] for row in rows) if version is None else version
    found = {row["table"]: row["delta_version"] for row in rows if row["version"] == wanted}
    if not found:
        raise NotFound(f"library {library!r} has no version {wanted}: the newest is {max(r['version'] for r in rows)}")
    if table not in found:
        raise NotFound(f"library {library!r} version {wanted} has no table {table!r}{nearest(table, found)}")
    return tables.dataset(f"{library}.{table}", found[table])


def library_table(tables: Tables, library: str, table: str, version: int | None = None) -> pa.Table:
    """Rows of one table of a library as Arrow; see ``library_dataset``."""
    return library_dataset(tables, library, table, version).to_table()


def list_libraries(tables: Tables, themes: Mapping[str, Theme]) -> list[Row]:
    """Every library that is described or published, with its published version (null before the first build)."""
    newest = newest_rows(tables)
    return [_summary(name, themes.get(name), newest.get(name, [])) for name in sorted({*themes, *newest})]


def show_library(tables: Tables, name: str, theme: Theme | None) -> Row:
    """One library: what it is, its published tables with their keys, quality and inputs, and its versions.

    ``theme`` is None for a library that was published and is described no more.
    """
    rows = newest_rows(tables, name).get(name, [])
    first = rows[0] if rows else {}
    summary = _summary(name, theme, rows)
    shown = {table: {**counts, **_described(theme, table)} for table, counts in summary["tables"].items()}
    return {
        **summary,
        "description": theme.description.strip() if theme else None,
        "described_as_built": first["spec_hash"] == theme.spec_hash() if rows and theme else None,
        "run_id": first.get("run_id"),
        "tables": shown,
        "inputs": json.loads(first.get("inputs") or "{}"),
        "versions": _versions(tables, name),
    }


def _summary(name: str, theme: Theme | None, rows: Sequence[Row]) -> Row:
    """What every listing of a library says; of one that was never built the tables it is to have, without numbers."""
    unbuilt: Row = dict.fromkeys(COUNTS)
    counts = {row["table"]: {column: row[column] for column in COUNTS} for row in rows}
    return {
        "name": name,
        "title": f"{theme.title.zh} {theme.title.en}" if theme else None,
        "owner": theme.owner if theme else None,
        "version": rows[0]["version"] if rows else None,
        "built_at_utc": rows[0]["built_at_utc"] if rows else None,
        "tables": counts or {table: dict(unbuilt) for table in (theme.tables if theme else ())},
        "quality": {"rules": [rule for row in rows for rule in json.loads(row["quality"])["rules"]]},
    }


def _described(theme: Theme | None, table: str) -> Row:
    spec = theme.tables.get(table) if theme else None
    return {"key": list(spec.key), "description": spec.description.strip()} if spec else {}


def _versions(tables: Tables, library: str) -> list[Row]:
    """All versions of a library, the newest first."""
    recorded = tables.dataset("library_versions").to_table(
        columns=["version", "built_at_utc", "run_id"], filter=pc.field("library") == library
    )
    found = {row["version"]: row for row in recorded.to_pylist()}
    return [found[version] for version in sorted(found, reverse=True)]
