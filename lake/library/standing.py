"""What is published when a build begins, and whether a build could change it. No engine is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from lake.errors import NotFound
from lake.library.catalog import newest_rows
from lake.library.result import Result, recorded_findings
from lake.library.spec import TableSpec, Theme
from lake.model import Row
from lake.tables import Tables

VOLATILE = re.compile(
    r"\b(current_\w+|now|today|yesterday|tomorrow|curdate|localtime\w*|(to_)?unix_timestamp|rand\w*|uniform|uuid|shuffle)\b",
    re.I,
)
"""SQL that may give other rows for the same inputs."""


@dataclass(frozen=True)
class Standing:
    """What is published when a build begins; version 0 before the first."""

    version: int
    spec_hash: str | None
    inputs: dict[str, int | None]
    tables: dict[str, Row]
    """Rows of ``library_versions`` by table."""
    covered: frozenset[str]
    """Tables with newer commits than the published one, as a killed build leaves them. They are written again: a
    clean-up would take the published files for old ones."""


def standing_of(tables: Tables, theme: Theme) -> Standing:
    """The published version, with those of its tables that are still there."""
    rows = newest_rows(tables, theme.name).get(theme.name, [])
    if not rows:
        return Standing(0, None, {}, {}, frozenset())
    there: dict[str, Row] = {}
    covered: set[str] = set()
    for row in rows:
        try:
            newest = tables.open(f"{theme.name}.{row['table']}").version()
        except NotFound:
            continue
        if newest >= row["delta_version"]:
            there[row["table"]] = row
        if newest > row["delta_version"]:
            covered.add(row["table"])
    first = rows[0]
    return Standing(first["version"], first["spec_hash"], json.loads(first["inputs"]), there, frozenset(covered))


def nothing_new(theme: Theme, standing: Standing, inputs: dict[str, int | None]) -> bool:
    """Whether a build could only find what stands: same description, same inputs, and no SQL that looks at a clock."""
    return (
        standing.spec_hash == theme.spec_hash()
        and standing.inputs == inputs
        and set(standing.tables) == set(theme.tables)
        and not standing.covered
        and not any(VOLATILE.search(text) for spec in theme.tables.values() for text in _texts(spec))
    )


def stands(theme: Theme, standing: Standing, result: Result) -> bool:
    """Whether a build found what is published already: description, rows, and what the rules say of them."""
    recorded = [finding for row in standing.tables.values() for finding in recorded_findings(row)]
    return (
        standing.spec_hash == theme.spec_hash()
        and not any(table.to_write for table in result.tables.values())
        and sorted(result.findings, key=str) == sorted(recorded, key=str)
    )


def _texts(spec: TableSpec) -> Iterator[str]:
    """All the SQL of a table: rules may look at a clock too."""
    yield spec.sql
    yield from (rule.check for rule in spec.quality if rule.check is not None)
