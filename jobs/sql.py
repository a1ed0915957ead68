"""``lake sql``: query any table."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import Invocation, Verb

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.context import Job

LIMIT_ON_TERMINAL = 1000


@click.command(cls=Verb)
@click.argument("query")
@click.option(
    "--engine",
    type=click.Choice(["auto", "local", "spark"]),
    default="auto",
    show_default=True,
    help="local is DuckDB and starts in a second; auto takes Spark for tables of gigabytes.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Rows at most; default: {LIMIT_ON_TERMINAL:,} on a terminal, all elsewhere.",
)
@click.pass_obj
def command(invocation: Invocation, query: str, engine: str, limit: int | None) -> None:
    """Query any table: assets, arrivals, blobs, quarantine, runs, feature_*, <library>.<table>.

    \b
    lake sql "SELECT media_kind, count(*) FROM assets GROUP BY 1"
    lake sql "SHOW TABLES"
    lake sql --engine spark "SELECT * FROM site_watch.coverage"
    """
    from jobs.context import open_job

    job = open_job(invocation)
    if limit is None and sys.stdout.isatty() and not invocation.json:
        limit = LIMIT_ON_TERMINAL
    chosen = choose_engine(job, query) if engine == "auto" else engine
    # One row more than asked for tells whether there are more.
    rows = run_sql(job, query, chosen, None if limit is None else limit + 1)
    more = limit is not None and rows.num_rows > limit
    shown = rows.slice(0, limit)
    print(f"answered by {'DuckDB' if chosen == 'local' else 'Spark'}", file=sys.stderr)
    if not invocation.emit({"engine": chosen, "rows": shown.to_pylist(), "more_rows": more}):
        print_rows(shown.column_names, shown.to_pylist())
    if more:
        print(f"only the first {limit:,} rows: use --limit", file=sys.stderr)


def choose_engine(job: Job, query: str) -> str:
    """Spark when the tables that a query reads are larger than the settings give to the embedded engine."""
    from lake.catalog.query import lists_tables, mentioned_bytes

    if lists_tables(query):
        return "local"
    return "spark" if mentioned_bytes(job.tables, query) >= job.settings.sql.spark_from_bytes else "local"


def run_sql(job: Job, query: str, engine: str, limit: int | None = None) -> pa.Table:
    """Rows of one SELECT by the embedded engine or by Spark."""
    if engine == "local":
        from lake.catalog.query import local_sql

        return local_sql(job.tables, query, limit=limit)
    from lake.catalog.spark_query import spark_sql
    from lake.engine.attach import session_for

    with session_for(job.settings, "lake sql", writes=False) as spark:
        return spark_sql(spark, job.tables, query, limit=limit)


def print_rows(columns: list[str], rows: list[dict[str, Any]]) -> None:
    """A table for a person: aligned on a terminal, tab-separated into a pipe."""
    if not sys.stdout.isatty():
        lines = ["\t".join(columns), *("\t".join(_cell(row.get(name)) for name in columns) for row in rows)]
        click.echo("\n".join(lines))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(name))) for name in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray)):
        return f"<{len(value)} bytes>"
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=_cell, ensure_ascii=False)
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("+00:00", "Z")
    return str(value).replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
