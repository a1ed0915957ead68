"""``lake sql``: query any table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import Invocation, Verb

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.context import Job

SPARK_FROM_BYTES = 4 * 1024**3
"""``--engine auto`` asks Spark when the tables together are larger than this."""


@click.command(cls=Verb)
@click.argument("query")
@click.option(
    "--engine",
    type=click.Choice(["auto", "local", "spark"]),
    default="auto",
    show_default=True,
    help="local is DuckDB and starts in a second.",
)
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Rows printed at most.")
@click.pass_obj
def command(invocation: Invocation, query: str, engine: str, limit: int) -> None:
    """Query any table: assets, arrivals, blobs, quarantine, runs, feature_*, <library>.<table>.

    \b
    lake sql "SELECT media_kind, count(*) FROM assets GROUP BY 1"
    lake sql --engine spark "SELECT * FROM site_watch.coverage"
    """
    from jobs.context import open_job

    job = open_job(invocation)
    chosen = "local" if engine == "auto" else engine
    rows = run_sql(job, query, chosen)
    print(f"answered by {'DuckDB' if chosen == 'local' else 'Spark'}", file=sys.stderr)
    shown = rows.slice(0, limit)
    document = {"engine": chosen, "rows": shown.to_pylist(), "total_rows": rows.num_rows}
    if not invocation.emit(document):
        print_rows(shown.column_names, document["rows"])
        if rows.num_rows > limit:
            print(f"{rows.num_rows - limit:,} more rows: use --limit", file=sys.stderr)


def run_sql(job: Job, query: str, engine: str) -> pa.Table:
    """Rows of one SELECT by the embedded engine or by Spark."""
    if engine == "local":
        from lake.catalog.query import local_sql

        return local_sql(job.tables, query)
    from lake.catalog.spark_query import spark_sql
    from lake.session import build_session

    spark = build_session(job.settings, "lake sql", writes=False)
    try:
        return spark_sql(spark, job.tables, query)
    finally:
        spark.stop()


def print_rows(columns: list[str], rows: list[dict[str, Any]]) -> None:
    """A table for a person: aligned on a terminal, tab-separated into a pipe."""
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(_cell(row.get(name)) for name in columns))
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
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(value).replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
