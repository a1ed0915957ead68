"""``lake runs``: what ran."""

from __future__ import annotations

import click

from jobs.cli import Invocation, VerbGroup


@click.group(cls=VerbGroup)
def command() -> None:
    """What ran, when, with which result."""


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Newest runs shown.")
@click.pass_obj
def list_(invocation: Invocation, limit: int) -> None:
    """The newest runs.

    \b
    lake runs list
    """
    from jobs.context import open_job
    from jobs.sql import print_rows
    from lake.catalog.runs import list_runs

    rows = list_runs(open_job(invocation).tables, limit)
    columns = [
        "run_id",
        "verb",
        "state",
        "exit_status",
        "started_at_utc",
        "seconds",
        "rows_in",
        "rows_out",
        "rows_failed",
        "engine",
    ]
    if not invocation.emit({"rows": rows}):
        print_rows(columns, rows)


@command.command()
@click.argument("run_id")
@click.pass_obj
def show(invocation: Invocation, run_id: str) -> None:
    """One run with its stages.

    \b
    lake runs show 0193...
    """
    from jobs.context import open_job
    from jobs.sql import print_rows
    from lake.catalog.runs import show_run

    rows = show_run(open_job(invocation).tables, run_id)
    if not invocation.emit({"rows": rows}):
        for row in rows:
            tables = {name: row.pop(name, None) for name in ("slowest", "costs")}
            print_rows(["field", "value"], [{"field": key, "value": value} for key, value in row.items()])
            if tables["slowest"]:
                print_rows(["seconds", "size_bytes", "media_kind", "sha256"], tables["slowest"])
            if tables["costs"]:
                # The sums that the next run learns from say nothing to a person; --json has them.
                print_rows(["media_kind", "analyses", "records", "size_bytes", "seconds"], tables["costs"])
