"""``lake export``: recordings out of the lake into a folder, verified."""

from __future__ import annotations

import click

from jobs.cli import Invocation, Verb


@click.command(cls=Verb)
@click.argument("query")
@click.argument("dest", type=click.Path(file_okay=False))
@click.option("--dry-run", is_flag=True, help="Say what would be written.")
@click.pass_obj
def command(invocation: Invocation, query: str, dest: str, dry_run: bool) -> None:
    """Write the recordings that a query names (by its column asset_id or sha256) into a folder.

    \b
    lake export "SELECT asset_id FROM assets WHERE device_id = 'cam-01'" ./cam-01
    """
    from pathlib import Path

    from connectors.keys import readable
    from jobs.context import open_job
    from jobs.progress import human_bytes
    from jobs.sql import run_sql
    from lake.catalog.export import export_recordings

    job = open_job(invocation)
    result = export_recordings(job.tables, job.store, run_sql(job, query, "local"), Path(dest), dry_run=dry_run)
    if not invocation.emit({"files": result.files, "bytes": result.bytes, "dest": dest, "dry_run": dry_run}):
        said = "would be written" if dry_run else "written"
        click.echo(f"{result.files:,} recordings, {human_bytes(result.bytes)}, {said} to {readable(dest)}")
