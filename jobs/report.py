"""``lake report``: one HTML page of the whole lake."""

from __future__ import annotations

import click

from jobs.cli import Invocation, Verb


@click.command(cls=Verb)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    default="lake-report.html",
    show_default=True,
    help="Where the page is written.",
)
@click.pass_obj
def command(invocation: Invocation, output: str) -> None:
    """Write one HTML page with pictures that works offline.

    \b
    lake report -o city.html
    """
    from pathlib import Path

    from jobs.context import open_job
    from lake.catalog.report import write_report

    job = open_job(invocation)
    path = write_report(job.tables, job.store, job.settings, Path(output))
    if not invocation.emit({"path": str(path.resolve()), "bytes": path.stat().st_size}):
        click.echo(str(path.resolve()))
