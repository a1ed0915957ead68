"""``lake init``: the tables of an empty lake, and its bucket."""

from __future__ import annotations

import click

from jobs.cli import Invocation, Verb


@click.command(cls=Verb)
@click.option("--dry-run", is_flag=True, help="Say what would be created.")
@click.pass_obj
def command(invocation: Invocation, dry_run: bool) -> None:
    """Create the tables of a lake (and its bucket); a lake that is there is left as it is.

    \b
    lake init
    lake --root s3://recordings/city init
    """
    from jobs.context import open_job
    from lake.catalog.create import create_lake

    job = open_job(invocation, must_exist=False)
    checks = create_lake(job.settings, job.tables, job.store, dry_run=dry_run)
    if not invocation.emit({"root": job.settings.root, "dry_run": dry_run, "checks": [c.__dict__ for c in checks]}):
        for check in checks:
            click.echo(f"{check.name:20} {check.detail}")
