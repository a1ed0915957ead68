"""``lake cat``: the bytes of one recording, verified."""

from __future__ import annotations

import shutil
import sys

import click

from jobs.cli import Invocation, Verb


@click.command(cls=Verb)
@click.argument("recording", metavar="ID")
@click.pass_obj
def command(invocation: Invocation, recording: str) -> None:
    """Write the bytes of one recording (asset id or sha256) to stdout, verified.

    \b
    lake cat 9f86d081884c7d65... > recording.wav
    """
    from jobs.context import open_job
    from lake.catalog.read import open_recording

    job = open_job(invocation)
    with open_recording(job.tables, job.store, recording) as stream:
        shutil.copyfileobj(stream, sys.stdout.buffer, 1024 * 1024)
    sys.stdout.buffer.flush()
