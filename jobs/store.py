"""``lake store``: the pack store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.cli import EXIT_FINDINGS, Invocation, VerbGroup

if TYPE_CHECKING:
    from jobs.context import Job


@click.group(cls=VerbGroup)
def command() -> None:
    """The pack store: what lies where, and what it costs."""


@command.command()
@click.pass_obj
def stat(invocation: Invocation) -> None:
    """Blobs, packs, bytes, and what is not payload.

    \b
    lake store stat
    """
    from jobs.context import open_job
    from jobs.sql import print_rows
    from lake.store.stat import stat as store_stat

    job = open_job(invocation)
    document = store_stat(job.store, job.tables.dataset("blobs"), job.tables.folder("blobs"))
    if not invocation.emit(document):
        print_rows(["what", "value"], [{"what": key, "value": value} for key, value in document.items()])


@command.command()
@click.option("--dry-run", is_flag=True, help="Count what is missing and write nothing.")
@click.pass_obj
def rebuild(invocation: Invocation, dry_run: bool) -> int:
    """Add to the table of blobs what the packs and large blobs hold and it does not name.

    Exit 3 when something in the store is damaged or lost; each such thing is told on stderr.

    \b
    lake store rebuild --dry-run
    lake store rebuild
    """
    from jobs.context import open_job

    job = open_job(invocation)
    document = rebuild_index(job, invocation, dry_run=dry_run)
    if not invocation.emit(document):
        click.echo(
            f"{document['blobs']:,} blobs in {document['packs']:,} packs ({document['from_footers']:,} read by their"
            f" footer, {document['from_frames']:,} by their frames) and large objects: {document['added']:,}"
            f" {'to be ' if dry_run else ''}added to the table, {document['damaged']:,} damaged or lost"
        )
        for finding in document["findings"]:
            click.echo(finding, err=True)
    return EXIT_FINDINGS if document["damaged"] else 0


def rebuild_index(job: Job, invocation: Invocation, *, dry_run: bool = False) -> dict[str, Any]:
    """Rebuild the index, recorded as a run unless nothing is to be written, and return the verb's document."""
    import time

    from jobs.context import utc_now
    from jobs.progress import Progress
    from lake.catalog.runs import record_run
    from lake.store.rebuild import rebuild as rebuild_blobs

    started = time.monotonic()
    document: dict[str, Any] = {"run_id": None}
    with Progress("rebuild", quiet=invocation.json) as progress:

        def told(report: Any) -> None:
            progress.update(report.blobs, None, report.bytes)

        if dry_run:
            report = rebuild_blobs(job.store, job.tables, dry_run=True, progress=told)
        else:
            with record_run(job.tables, "store rebuild", invocation.argv, utc_now) as run:
                report = rebuild_blobs(job.store, job.tables, progress=told)
                run.stage(
                    "rebuild",
                    rows_in=report.blobs,
                    rows_out=report.added,
                    rows_failed=report.damaged,
                    size_bytes=report.bytes,
                    seconds=time.monotonic() - started,
                )
            document["run_id"] = run.run_id
    return {**document, **vars(report), "seconds": round(time.monotonic() - started, 3)}
