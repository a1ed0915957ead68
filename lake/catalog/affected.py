"""Who is affected by contents that cannot be read: assets, and published tables of libraries. No JVM."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from lake.errors import LakeError
from lake.library.catalog import published_tables
from lake.tables import Tables


def affected_by(tables: Tables, contents: Iterable[str]) -> tuple[list[str], list[str]]:
    """Asset ids with these contents, and the published library tables that have rows of them, by their ``sha256``."""
    wanted = pc.field("sha256").isin(sorted(set(contents)))
    assets = tables.dataset("assets").to_table(columns=["asset_id"], filter=wanted).column(0).to_pylist()
    libraries = []
    for name, version in published_tables(tables).items():
        try:
            table = tables.dataset(name, version)
        except LakeError:
            continue
        if "sha256" in table.schema.names and table.count_rows(filter=wanted):
            libraries.append(name)
    return sorted(assets), libraries
