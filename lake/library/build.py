"""Builds a thematic library: pinned inputs, SQL, quality rules, comparison, one commit a table, then publication.

A version is published by one append to ``library_versions``; readers take the Delta versions named there. Whatever is
killed before that append has changed nothing that anybody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from lake.catalog.spark_query import spark_uri
from lake.errors import CommitConflict, LakeError, PolicyRefused, SettingsError, StoreError
from lake.library.compare import looks, measure, quoted
from lake.library.inputs import closed_session, pin_inputs, read_version, register_inputs
from lake.library.quality import findings, require_columns, row_marks
from lake.library.result import Result, TableResult
from lake.library.spark_errors import spark_errors
from lake.library.spec import TableSpec, Theme, nearest
from lake.library.standing import Standing, nothing_new, standing_of, stands
from lake.schema import LIBRARY_VERSIONS
from lake.tables import TABLE_PROPERTIES, Tables, rows_table

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

HISTORY_COMMITS = 20
"""How far back a build looks for its own commit: others may have committed to the table since."""
ONE_FILE_ROWS = 100_000
"""Tables up to this size are one file: sorting them over several partitions costs a job and leaves empty files."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def build(
    spark: Callable[[], SparkSession],
    tables: Tables,
    theme: Theme,
    run_id: str,
    dry_run: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Result:
    """Build a library and publish it as a new version when rows, description or findings changed. Runs on the driver.

    ``spark`` starts the session; it is not called when neither an input nor the description has changed.

    Raises:
        SettingsError: the description is wrong: SQL, key or rule.
        PolicyRefused: a rule of severity ``error`` is broken; the published version stays.
        LakeError: key columns are null or not unique; the published version stays.
        CommitConflict: another build of the library published first.
    """
    standing = standing_of(tables, theme)
    result = Result(theme.name, standing.version, inputs=pin_inputs(tables, theme))
    if nothing_new(theme, standing, result.inputs):
        result.tables = {name: TableResult.recorded(row) for name, row in standing.tables.items()}
        return result
    with closed_session(spark()) as session:
        return _built(session, tables, theme, standing, result, run_id, dry_run, now)


def _built(
    session: SparkSession,
    tables: Tables,
    theme: Theme,
    standing: Standing,
    result: Result,
    run_id: str,
    dry_run: bool,
    now: Callable[[], datetime],
) -> Result:
    frames: dict[str, DataFrame] = {}
    try:
        with spark_errors(f"library {theme.name}: inputs"):
            register_inputs(session, tables, result.inputs)
        for name, spec in theme.tables.items():
            with spark_errors(f"library {theme.name}: table {name}"):
                frames[name] = _select(session, theme, name, spec)
                result.tables[name] = _compare(session, tables, theme, name, frames[name], standing)
        if stands(theme, standing, result):
            return result
        result.version, result.changed = standing.version + 1, True
        if not dry_run:
            _refuse_broken(theme, result, standing.version)
            _write_changed(tables, theme, result, frames, f"{run_id}/{result.version}")
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

    return F.col(quoted(column)).alias(column, metadata={"comment": " ".join(text.split())} if text else {})


def _compare(
    session: SparkSession, tables: Tables, theme: Theme, name: str, frame: DataFrame, standing: Standing
) -> TableResult:
    """Count the new rows, check keys and rules, and compare with the published rows, in one pass over both."""
    spec, before = theme.tables[name], standing.tables.get(name)
    what = f"library {theme.name}: table {name}"
    old = read_version(session, tables.uri(f"{theme.name}.{name}"), before["delta_version"]) if before else None
    comparable = old is not None and _key_types(old, spec.key) == _key_types(frame, spec.key)
    found = measure(frame, old if comparable else None, spec.key, row_marks(what, spec, frame))
    what = f"{what}: key ({', '.join(spec.key)})"
    if found.null_keys:
        raise LakeError(f"{what} is null in {found.null_keys:,} of {found.rows:,} rows: leave such rows out in the SQL")
    if found.repeated:
        raise LakeError(
            f"{what} is not unique: {found.repeated:,} of {found.rows:,} rows are too many,"
            f" e.g. {_repeated(frame, spec.key)}; add a column to the key or GROUP BY it"
        )
    said = findings(name, spec, frame, found.rows, found.marked)
    if before is None or old is None:
        return TableResult(found.rows, found.added, 0, 0, said, None, True)
    removed = found.removed if comparable else before["rows"]
    differs = found.added or found.changed or removed or looks(old) != looks(frame)
    to_write = bool(differs) or name in standing.covered
    return TableResult(found.rows, found.added, found.changed, removed, said, before["delta_version"], to_write)


def _key_types(frame: DataFrame, key: Sequence[str]) -> list[str | None]:
    kinds = dict(frame.dtypes)
    return [kinds.get(column) for column in key]


def _repeated(frame: DataFrame, key: Sequence[str]) -> str:
    """One key that occurs more than once, in words."""
    from pyspark.sql import functions as F

    groups = frame.groupBy(*key).agg(F.count(F.lit(1)).alias("__rows"))
    row = groups.orderBy(F.desc("__rows"), *key).limit(1).collect()[0]
    return ", ".join(f"{column}={str(row[column])[:80]!r}" for column in key) + f" in {row['__rows']:,} rows"


def _refuse_broken(theme: Theme, result: Result, last: int) -> None:
    """Raise ``PolicyRefused`` that names every broken rule of severity ``error``."""
    if result.broken:
        said = ", ".join(f"{each.table}.{each.rule} ({each.failed_rows:,} rows)" for each in result.broken)
        stays = f"version {last} stays" if last else "nothing is published"
        raise PolicyRefused(
            f"library {theme.name}: quality rules broken: {said}; {stays}."
            " Mend the recordings or the SQL, or make the rule a warning"
        )


def _write_changed(tables: Tables, theme: Theme, result: Result, frames: dict[str, DataFrame], mark: str) -> None:
    for name, table in result.tables.items():
        if table.to_write:
            with spark_errors(f"library {theme.name}: table {name}"):
                table.delta_version = _write(tables, theme, name, frames[name], table.rows, mark)


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
    rows = rows_table(result.version_rows(theme, run_id, at), LIBRARY_VERSIONS)
    # Two builds may reach this at once with the same number: the transaction lets one of them in.
    try:
        tables.append("library_versions", rows, txn=(f"library:{theme.name}", result.version))
    except CommitConflict as error:
        raise CommitConflict(f"library {theme.name}: another build publishes at the same time; build again") from error
    wanted = (pc.field("library") == theme.name) & (pc.field("version") == result.version)
    first = tables.dataset("library_versions").to_table(columns=["run_id"], filter=wanted).column(0)[0].as_py()
    if first != run_id:
        raise CommitConflict(f"library {theme.name}: run {first} published version {result.version} first; build again")
    result.published = True
