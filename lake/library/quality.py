"""Quality rules as numbers: how many rows break each, found in the same pass that counts the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.errors import SettingsError
from lake.library.compare import first_row
from lake.library.spark_errors import spark_errors
from lake.library.spec import Rule, TableSpec, nearest
from lake.model import Row

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class Finding:
    """What one rule said about the new rows of a table."""

    table: str
    rule: str
    severity: str
    ok: bool
    failed_rows: int
    """Rows that break the rule; for ``min_rows`` how many are missing."""

    def document(self) -> Row:
        """As it stands in ``library_versions.quality`` and in the verb's document."""
        return {
            "table": self.table,
            "rule": self.rule,
            "severity": self.severity,
            "ok": self.ok,
            "failed_rows": self.failed_rows,
        }


def row_marks(what: str, spec: TableSpec, frame: DataFrame) -> dict[str, Column]:
    """Of each rule that looks at single rows: a condition that is true of the rows that break it."""
    marks = ((rule.name, _breaks(f"{what}: rule {rule.name}", rule, frame)) for rule in spec.quality)
    return {name: mark for name, mark in marks if mark is not None}


def findings(table: str, spec: TableSpec, frame: DataFrame, rows: int, marked: Mapping[str, int]) -> list[Finding]:
    """What the rules say of a table with so many rows, of which so many break each rule of ``row_marks``."""
    broken = {**marked, **_repeated_rows(spec, frame)}
    for rule in spec.quality:
        if rule.min_rows is not None:
            broken[rule.name] = max(0, rule.min_rows - rows)
    return [Finding(table, r.name, r.severity, broken[r.name] == 0, broken[r.name]) for r in spec.quality]


def require_columns(what: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ``SettingsError`` for a column that the SELECT does not yield."""
    for name in wanted:
        if name not in columns:
            raise SettingsError(f"{what}: the SELECT yields no column {name!r}{nearest(name, columns)}")


def _breaks(what: str, rule: Rule, frame: DataFrame) -> Column | None:
    from pyspark.sql import functions as F

    require_columns(what, rule.not_null or rule.unique or (), frame.columns)
    if rule.not_null is not None:
        unknown = F.lit(False)
        for name in rule.not_null:
            unknown = unknown | F.col(name).isNull()
        return unknown
    if rule.check is None:
        return None
    with spark_errors(what):
        check = F.expr(rule.check)
        kind = frame.select(check).dtypes[0][1]
    if kind != "boolean":
        raise SettingsError(f"{what}: {rule.check!r} is no condition but a {kind}: write what must hold, as a > 0")
    return ~check


def _repeated_rows(spec: TableSpec, frame: DataFrame) -> dict[str, int]:
    """Rows too many of each rule ``unique``: a pass of its own, for those tables that have such a rule."""
    from pyspark.sql import functions as F

    wanted = {rule.name: rule.unique for rule in spec.quality if rule.unique is not None}
    counts = []
    for columns in wanted.values():
        known = F.lit(True)
        for name in columns:
            known = known & F.col(name).isNotNull()
        counts.append(F.count_if(known) - F.count_distinct(*(F.col(name) for name in columns)))
    return dict(zip(wanted, first_row(frame.agg(*counts)), strict=True)) if counts else {}
