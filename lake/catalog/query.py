"""SQL without a JVM: DuckDB over the Delta tables, read-only and closed to the outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.errors import UsageError
from lake.library.catalog import published_tables
from lake.tables import Tables

if TYPE_CHECKING:
    import duckdb

VIEWS = {
    "arrival_state": (
        "arrivals",
        "SELECT DISTINCT ON (arrival_id) * FROM arrivals ORDER BY arrival_id, seen_at_utc DESC, run_id DESC",
    ),
    "quarantine_open": (
        "quarantine",
        """SELECT * FROM (
             SELECT DISTINCT ON (coalesce(arrival_id, sha256), stage, analysis, analysis_version, params_hash) *
             FROM quarantine
             ORDER BY coalesce(arrival_id, sha256), stage, analysis, analysis_version, params_hash, attempt DESC
           ) WHERE error_class IS NOT NULL""",
    ),
}
"""Views of the current state of append-only tables: name to (table it needs, SQL)."""


def local_sql(tables: Tables, sql: str, parameters: dict[str, Any] | None = None) -> pa.Table:
    """Rows of one SELECT over the lake's tables. Runs on the driver; nothing but the tables can be reached.

    Raises ``UsageError`` with the first line of what DuckDB said.
    """
    import duckdb

    connection = connect(tables, sql)
    try:
        return connection.sql(sql, params=parameters or {}).to_arrow_table()
    except duckdb.Error as error:
        raise UsageError(f"sql: {_first_line(error)}") from error
    finally:
        connection.close()


def connect(tables: Tables, sql: str) -> duckdb.DuckDBPyConnection:
    """A connection that sees the tables a query names and can open nothing else."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"autoinstall_known_extensions": False})
    connection.execute("SET TimeZone = 'UTC'")
    _refuse_writes(connection, sql)
    mentioned = sql.lower()
    names = [n for n in tables.names() if n.lower().split(".")[-1] in mentioned or _needed_by_view(n, mentioned)]
    published = published_tables(tables) if any("." in name for name in names) else {}
    for name in names:
        library, _, table = name.rpartition(".")
        if library and name not in published:
            continue
        dataset = tables.dataset(name, published.get(name))
        if not library:
            connection.register(name, dataset)
            continue
        connection.register(f"{library}__{table}", dataset)
        quoted = _quoted(library)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
        connection.execute(f"CREATE VIEW {quoted}.{_quoted(table)} AS FROM {_quoted(f'{library}__{table}')}")
    for view, (table, query) in VIEWS.items():
        if view in mentioned and table in names:
            connection.execute(f"CREATE VIEW {view} AS {query}")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _refuse_writes(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(f"sql: {_first_line(error)}") from error
    kinds = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
    if len(statements) != 1 or statements[0].type not in kinds:
        raise UsageError("sql takes one SELECT: the lake's tables are written by its verbs only")


def _needed_by_view(name: str, mentioned: str) -> bool:
    return any(view in mentioned and table == name for view, (table, _) in VIEWS.items())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(error: Exception) -> str:
    return " ".join(str(error).strip().splitlines()[:1])
