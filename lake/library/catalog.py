"""Which libraries there are, and their tables at the published version. No JVM is started here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from lake.errors import NotFound
from lake.library.spec import Theme, nearest
from lake.model import Row
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as ds


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
    return [
        {
            "name": name,
            "title": _title(themes.get(name)),
            "owner": themes[name].owner if name in themes else None,
            "version": newest[name][0]["version"] if name in newest else None,
            "built_at_utc": newest[name][0]["built_at_utc"] if name in newest else None,
        }
        for name in sorted({*themes, *newest})
    ]


def show_library(tables: Tables, theme: Theme) -> Row:
    """One library: what it is, its published tables with their keys, quality and inputs."""
    rows = newest_rows(tables, theme.name).get(theme.name, [])
    first = rows[0] if rows else {}
    return {
        "name": theme.name,
        "title": _title(theme),
        "owner": theme.owner,
        "description": theme.description.strip(),
        "version": first.get("version"),
        "built_at_utc": first.get("built_at_utc"),
        "run_id": first.get("run_id"),
        "described_as_built": first.get("spec_hash") == theme.spec_hash() if rows else None,
        "tables": {row["table"]: _shown(row, theme) for row in rows} or {name: {} for name in theme.tables},
        "quality": {"rules": [rule for row in rows for rule in json.loads(row["quality"] or '{"rules":[]}')["rules"]]},
        "inputs": json.loads(first.get("inputs") or "{}"),
    }


def _shown(row: Row, theme: Theme) -> Row:
    described = theme.tables.get(row["table"])
    counts = {name: row[name] for name in ("rows", "added", "changed", "removed", "delta_version")}
    if described is None:
        return counts
    return counts | {"key": list(described.key), "description": described.description.strip()}


def _title(theme: Theme | None) -> str | None:
    return f"{theme.title.zh} {theme.title.en}" if theme else None
