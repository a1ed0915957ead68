"""SQL without a JVM: DuckDB over the Delta tables, read-only and closed to the outside."""

from __future__ import annotations

import difflib
import re
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
             SELECT DISTINCT ON
               (coalesce(arrival_id, sha256), stage, analysis, analysis_version, params_hash, model_hash) *
             FROM quarantine ORDER BY attempt DESC
           ) WHERE error_class IS NOT NULL""",
    ),
}
"""Views of the current state of append-only tables: name to (table it needs, SQL)."""


_NO_TABLE = re.compile(r'Table with name "?([^"\s]+?)"? does not exist')
_SAID_ONLY = re.compile(r"""("[^"]*")|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/""", re.S)
"""Strings and comments, between which quoted names are kept."""
_LISTS_TABLES = re.compile(
    r"^[\s(]*(?:show|desc(?:ribe)?)\b|\(\s*(?:show|desc(?:ribe)?)\s+\w|information_schema|\bduckdb_", re.I
)


def local_sql(
    tables: Tables, sql: str, parameters: dict[str, Any] | None = None, *, limit: int | None = None
) -> pa.Table:
    """Rows of one SELECT over the lake's tables. Runs on the driver; nothing but the tables can be reached.

    At most ``limit`` rows are computed. Raises ``UsageError`` with what DuckDB said, in one line.
    """
    import duckdb

    connection = connect(tables, sql)
    try:
        found = connection.sql(sql, params=parameters or {})
        rows = found.to_arrow_table() if limit is None else _first_rows(found, limit)
        return _as_bigint(rows, [str(kind) for kind in found.types])
    except duckdb.Error as error:
        raise UsageError(f"sql: {_explained(tables, error)}") from error
    finally:
        connection.close()


def connect(tables: Tables, sql: str) -> duckdb.DuckDBPyConnection:
    """A connection that sees the tables a query names and can open nothing else."""
    import duckdb

    connection = duckdb.connect(
        ":memory:", config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    connection.execute("SET TimeZone = 'UTC'")
    _refuse_writes(connection, sql)
    mentioned = mentioned_tables(tables, sql)
    for name, version in mentioned.items():
        library, _, table = name.rpartition(".")
        place = f"{_quoted(library or 'main')}.{_quoted(table)}"
        connection.register(f"lake:{name}", tables.dataset(name, version))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(library or 'main')}")
        connection.execute(f"CREATE VIEW {place} AS FROM {_quoted(f'lake:{name}')}")
    for view, (table, query) in VIEWS.items():
        if table in mentioned:
            connection.execute(f"CREATE VIEW {view} AS {query}")
    # With this not even variables of the calling Python code are tables.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def mentioned_tables(tables: Tables, sql: str) -> dict[str, int | None]:
    """The tables a query may need, with the version to read: of a library's table the published one, else the newest.

    A table that is named in a string only counts too: it costs an opening, and no SQL has to be understood.
    """
    text = sql.lower()
    every = lists_tables(sql)
    needed = {table for view, (table, _) in VIEWS.items() if view in text}
    names = [n for n in tables.names() if every or n in needed or n.lower().rpartition(".")[2] in text]
    published = published_tables(tables) if any("." in name for name in names) else {}
    return {name: published.get(name) for name in names if "." not in name or name in published}


def lists_tables(sql: str) -> bool:
    """Whether a query asks which tables there are, or for their columns: the embedded engine alone can say."""
    return bool(_LISTS_TABLES.search(_SAID_ONLY.sub(r"\1 ", sql)))


def mentioned_bytes(tables: Tables, sql: str) -> int:
    """Bytes of the data files of the tables a query may need."""
    return sum(tables.size_bytes(name, version) for name, version in mentioned_tables(tables, sql).items())


def nearest_table(tables: Tables, name: str) -> str:
    """In words: which table is meant by a name that is none."""
    known = [*tables.names(), *VIEWS]
    near = difflib.get_close_matches(name.lower(), known, 1, 0.6)
    return f"no table {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}")


def _first_rows(found: duckdb.DuckDBPyRelation, limit: int) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    reader = found.to_arrow_reader(max(1, min(limit, 10_000)))
    missing = limit
    while missing > 0 and (batch := next(reader, None)) is not None:
        batches.append(batch.slice(0, missing))
        missing -= batches[-1].num_rows
    return pa.Table.from_batches(batches, reader.schema)


def _as_bigint(rows: pa.Table, kinds: list[str]) -> pa.Table:
    """Sums of integers as 64 bits, as Spark gives them; DuckDB makes them 128 bits, which Arrow has as decimals."""
    for number, kind in enumerate(kinds):
        if kind == "HUGEINT":
            try:
                rows = rows.set_column(number, rows.field(number).name, rows.column(number).cast(pa.int64()))
            except pa.ArrowInvalid:
                continue  # it needs the 128 bits
    return rows


def _refuse_writes(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(f"sql: {_one_line(error)}") from error
    kinds = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
    if len(statements) != 1 or statements[0].type not in kinds:
        raise UsageError("sql takes one SELECT: the lake's tables are written by its verbs only")


def _explained(tables: Tables, error: Exception) -> str:
    missing = _NO_TABLE.search(str(error))
    return nearest_table(tables, missing[1]) if missing else _one_line(error)


def _one_line(error: Exception) -> str:
    """What DuckDB said, less its drawing of the place in the query."""
    return " ".join(str(error).split("\n\nLINE ")[0].split("\nLINE ")[0].split())[:400]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
