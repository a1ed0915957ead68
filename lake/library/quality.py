"""Quality rules as numbers: how many rows break each, found in the same pass that counts the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.errors import SettingsError
from lake.library.spec import Rule, TableSpec, nearest
from lake.model import Row

if TYPE_CHECKING:
    from pyspark.sql import Column


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


def rule_columns(table: str, spec: TableSpec, columns: Sequence[str]) -> list[Column]:
    """One aggregate a rule, in the order of the rules: rows that break it, or for ``min_rows`` all rows."""
    return [_failed_rows(table, rule, columns) for rule in spec.quality]


def findings(table: str, spec: TableSpec, counts: Sequence[int]) -> list[Finding]:
    """The rules' results from the aggregates of ``rule_columns``."""
    result = []
    for rule, count in zip(spec.quality, counts, strict=True):
        failed = max(0, rule.min_rows - count) if rule.min_rows is not None else count
        result.append(Finding(table, rule.name, rule.severity, failed == 0, failed))
    return result


def require_columns(what: str, wanted: Sequence[str], columns: Sequence[str]) -> None:
    """Raise ``SettingsError`` for a column that the SELECT does not yield."""
    for name in wanted:
        if name not in columns:
            raise SettingsError(f"{what}: the SELECT yields no column {name!r}{nearest(name, columns)}")


def _failed_rows(table: str, rule: Rule, columns: Sequence[str]) -> Column:
    from pyspark.sql import functions as F

    what = f"table {table}: rule {rule.name}"
    if rule.not_null is not None:
        require_columns(what, rule.not_null, columns)
        unknown = F.lit(False)
        for name in rule.not_null:
            unknown = unknown | F.col(name).isNull()
        return F.count_if(unknown)
    if rule.unique is not None:
        require_columns(what, rule.unique, columns)
        known = F.lit(True)
        for name in rule.unique:
            known = known & F.col(name).isNotNull()
        return F.count_if(known) - F.count_distinct(*(F.col(name) for name in rule.unique))
    if rule.min_rows is not None:
        return F.count(F.lit(1))
    return F.count_if(~F.expr(str(rule.check)))
