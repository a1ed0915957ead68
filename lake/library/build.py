"""Builds a thematic library: pinned inputs, SQL, quality rules, comparison, one commit a table, then publication.

A version is published by one append to ``library_versions``; readers take the Delta versions named there. Whatever is
killed before that append has changed nothing that anybody reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lake.catalog.spark_query import spark_uri
from lake.errors import CommitConflict, LakeError, PolicyRefused, SettingsError, StoreError
from lake.library.catalog import newest_rows
from lake.library.compare import differences, first_row
from lake.library.inputs import closed_session, pin_inputs, read_version, register_inputs
from lake.library.quality import Finding, findings, require_columns, rule_columns
from lake.library.spec import TableSpec, Theme, nearest
from lake.model import Row
from lake.schema import LIBRARY_VERSIONS
from lake.tables import TABLE_PROPERTIES, Tables, rows_table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

HISTORY_COMMITS = 20
"""How far back a build looks for its own commit: others may have committed to the table since."""
ONE_FILE_ROWS = 100_000
"""Tables up to this size are one file: sorting them over several partitions costs a job and leaves empty files."""


@dataclass
class TableResult:
    """One table of a build."""

    rows: int
    added: int
    changed: int
    removed: int
    findings: list[Finding]
    delta_version: int | None
    """At which it is published; None while it is not written."""
    to_write: bool

    def document(self) -> dict[str, int]:
        return {"rows": self.rows, "added": self.added, "changed": self.changed, "removed": self.removed}


@dataclass
class Result:
    """What a build found and did."""

    name: str
    version: int
    """Published by this build; of a dry run the one it would publish; without a change the one that stands."""
    tables: dict[str, TableResult] = field(default_factory=dict)
    inputs: dict[str, int | None] = field(default_factory=dict)
    published: bool = False

    @property
    def findings(self) -> list[Finding]:
        return [finding for table in self.tables.values() for finding in table.findings]

    def document(self) -> dict[str, Any]:
        """The fields of ``lake library build --json``."""
        return {
            "name": self.name,
            "version": self.version,
            "tables": {name: table.document() for name, table in self.tables.items()},
            "quality": {"rules": [finding.document() for finding in self.findings]},
            "inputs": self.inputs,
            "published": self.published,
        }


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(
    spark: SparkSession,
    tables: Tables,
    theme: Theme,
    run_id: str,
    dry_run: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Result:
    """Build a library and publish it as a new version when rows or description changed. Runs on the driver.

    Raises:
        SettingsError: the description is wrong: SQL, key or rule.
        PolicyRefused: a rule of severity ``error`` is broken; the published version stays.
        LakeError: key columns are null or not unique; the published version stays.
        CommitConflict: another build of the library published first.
    """
    before = {row["table"]: row for row in newest_rows(tables, theme.name).get(theme.name, [])}
    standing = next(iter(before.values()), None)
    last = standing["version"] if standing else 0
    result = Result(theme.name, last, inputs=pin_inputs(tables, theme))
    session = closed_session(spark)
    frames: dict[str, DataFrame] = {}
    try:
        register_inputs(session, tables, result.inputs)
        for name, spec in theme.tables.items():
            with _spark_errors(f"library {theme.name}: table {name}"):
                frames[name] = _select(session, theme, name, spec)
                result.tables[name] = _compare(session, tables, theme, name, frames[name], before.get(name))
        changed = any(table.to_write for table in result.tables.values())
        if not changed and standing is not None and standing["spec_hash"] == theme.spec_hash():
            return result
        result.version = last + 1
        if dry_run:
            return result
        _refuse_broken(theme, result, last)
        mark = f"{run_id}/{result.version}"
        for name, table in result.tables.items():
            if table.to_write:
                with _spark_errors(f"library {theme.name}: table {name}"):
                    table.delta_version = _write(tables, theme, name, frames[name], table.rows, mark)
        _publish(tables, theme, result, run_id, now())
        return result
    finally:
        for frame in frames.values():
            frame.unpersist()
        for view in (*result.inputs, *frames):
            session.catalog.dropTempView(view)


def _select(session: SparkSession, theme: Theme, name: str, spec: TableSpec) -> DataFrame:
    """The new rows of a table, kept for the passes that follow; later tables of the library see them by name."""
    # As a subquery it can only be a query: a statement that changes something is no valid SQL there.
    frame = session.sql(f"SELECT * FROM (\n{spec.sql}\n)")  # noqa: S608  (the description is what is to be run)
    what = f"library {theme.name}: table {name}"
    columns = frame.columns
    for column in columns:
        if [other.lower() for other in columns].count(column.lower()) > 1:
            raise SettingsError(f"{what}: the SELECT yields column {column!r} twice: name one of them with AS")
    for column, kind in frame.dtypes:
        if "void" in kind:
            raise SettingsError(f"{what}: column {column!r} has no type: write CAST(NULL AS <type>)")
    require_columns(f"{what}: key", spec.key, columns)
    if spec.columns:
        require_columns(f"{what}: columns", list(spec.columns), columns)
        for column in columns:
            if column not in spec.columns:
                raise SettingsError(f"{what}: column {column!r} is not described{nearest(column, spec.columns)}")
    described = [_described(column, spec.columns.get(column, "")) for column in columns]
    frame = frame.select(*described).persist()
    frame.createOrReplaceTempView(name)
    return frame


def _described(column: str, text: str) -> Column:
    """A column with its description as the comment that SQL tools show."""
    from pyspark.sql import functions as F

    quoted = F.col(f"`{column.replace('`', '``')}`")
    return quoted.alias(column, metadata={"comment": " ".join(text.split())} if text else {})


def _compare(
    session: SparkSession, tables: Tables, theme: Theme, name: str, frame: DataFrame, before: Row | None
) -> TableResult:
    """Count the new rows, check keys and rules in one pass, and compare with the published rows in another."""
    from pyspark.sql import functions as F

    spec = theme.tables[name]
    null_key = F.lit(False)
    for column in spec.key:
        null_key = null_key | F.col(column).isNull()
    keys = F.count_distinct(*(F.col(column) for column in spec.key))
    rules = rule_columns(name, spec, frame.columns)
    counts = first_row(frame.agg(F.count(F.lit(1)), F.count_if(null_key), keys, *rules))
    rows, null_keys, distinct_keys, failed = counts[0], counts[1], counts[2], counts[3:]
    what = f"library {theme.name}: table {name}: key ({', '.join(spec.key)})"
    if null_keys:
        raise LakeError(f"{what} is null in {null_keys:,} of {rows:,} rows: leave such rows out in the SQL")
    if distinct_keys < rows:
        raise LakeError(
            f"{what} is not unique: {rows - distinct_keys:,} of {rows:,} rows are too many,"
            f" e.g. {_repeated(frame, spec.key)}; add a column to the key or GROUP BY it"
        )
    found = findings(name, spec, failed)
    if before is None:
        return TableResult(rows, rows, 0, 0, found, None, True)
    old = read_version(session, tables.uri(f"{theme.name}.{name}"), before["delta_version"])
    added, changed, removed = differences(frame, old, spec.key)
    # What a killed build left on top would let a clean-up take the published files for old ones: write over it.
    left_over = tables.open(f"{theme.name}.{name}").version() != before["delta_version"]
    to_write = bool(added or changed or removed) or left_over or old.dtypes != frame.dtypes
    return TableResult(rows, added, changed, removed, found, before["delta_version"], to_write)


def _repeated(frame: DataFrame, key: Sequence[str]) -> str:
    """One key that occurs more than once, in words."""
    from pyspark.sql import functions as F

    row = frame.groupBy(*key).count().orderBy(F.desc("count"), *key).limit(1).collect()[0]
    return ", ".join(f"{column}={str(row[column])[:80]!r}" for column in key) + f" in {row['count']} rows"


def _refuse_broken(theme: Theme, result: Result, last: int) -> None:
    """Raise ``PolicyRefused`` that names every broken rule of severity ``error``."""
    broken = [finding for finding in result.findings if finding.severity == "error" and not finding.ok]
    if broken:
        said = ", ".join(f"{each.table}.{each.rule} ({each.failed_rows:,} rows)" for each in broken)
        stays = f"version {last} stays" if last else "nothing is published"
        raise PolicyRefused(
            f"library {theme.name}: quality rules broken: {said}; {stays}."
            " Mend the recordings or the SQL, or make the rule a warning"
        )


def _write(tables: Tables, theme: Theme, name: str, frame: DataFrame, rows: int, mark: str) -> int:
    """Write all rows in the order of the key, in one commit, and return its version."""
    uri = f"{theme.name}.{name}"
    spec = theme.tables[name]
    few = rows <= ONE_FILE_ROWS
    ordered = frame.coalesce(1).sortWithinPartitions(*spec.key) if few else frame.orderBy(*spec.key)
    writer = ordered.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
    for key, value in TABLE_PROPERTIES.items():
        writer = writer.option(key, value)
    writer.option("userMetadata", mark).save(spark_uri(tables.uri(uri)))
    for commit in tables.open(uri).history(HISTORY_COMMITS):
        if commit.get("userMetadata") == mark:
            return int(commit["version"])
    raise StoreError(f"table at {tables.uri(uri)}: the commit just made is not in its log; run the build again")


def _publish(tables: Tables, theme: Theme, result: Result, run_id: str, at: datetime) -> None:
    """Record the version: from this append on, readers see it."""
    rows: list[Row] = [
        {
            "library": theme.name,
            "version": result.version,
            "table": name,
            "delta_version": table.delta_version,
            **table.document(),
            "quality": json.dumps({"rules": [finding.document() for finding in table.findings]}, ensure_ascii=False),
            "spec_hash": theme.spec_hash(),
            "inputs": json.dumps(result.inputs, sort_keys=True),
            "built_at_utc": at,
            "run_id": run_id,
        }
        for name, table in result.tables.items()
    ]
    # Two builds may reach this at once with the same number: the transaction lets one of them in.
    tables.append("library_versions", rows_table(rows, LIBRARY_VERSIONS), txn=(f"library:{theme.name}", result.version))
    newest = newest_rows(tables, theme.name)[theme.name]
    if newest[0]["version"] == result.version and newest[0]["run_id"] != run_id:
        raise CommitConflict(
            f"library {theme.name}: run {newest[0]['run_id']} published version {result.version} first; build again"
        )
    result.published = True


@contextmanager
def _spark_errors(what: str) -> Iterator[None]:
    """Translates what Spark says into one line, here and nowhere else."""
    from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]
    from pyspark.errors import AnalysisException, ParseException, PySparkException

    try:
        yield
    except (AnalysisException, ParseException) as error:
        raise SettingsError(f"{what}: Spark: {_first_line(error)}") from error
    except (PySparkException, Py4JJavaError) as error:
        if "Concurrent" in str(error):
            raise CommitConflict(f"{what}: another build writes it at the same time; build again") from error
        raise LakeError(f"{what}: Spark: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    java = getattr(error, "java_exception", None)
    lines = str(java.getMessage() if java is not None else error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
