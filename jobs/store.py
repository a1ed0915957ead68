"""``lake store``: the pack store."""

from __future__ import annotations

import click

from jobs.cli import Invocation, VerbGroup


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
    from lake.store.stat import stat as store_stat

    from jobs.context import open_job
    from jobs.sql import print_rows

    job = open_job(invocation)
    document = store_stat(job.store, job.tables.dataset("blobs"), job.tables.folder("blobs"))
    if not invocation.emit(document):
        print_rows(["what", "value"], [{"what": key, "value": value} for key, value in document.items()])
