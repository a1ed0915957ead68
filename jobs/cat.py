"""``lake cat``: the bytes of one recording, verified."""

from __future__ import annotations

import shutil
import sys

import click

from jobs.cli import Invocation, Verb

CHUNK_BYTES = 1024 * 1024


@click.command(cls=Verb)
@click.argument("recording", metavar="ID")
@click.pass_obj
def command(invocation: Invocation, recording: str) -> None:
    """Write the bytes of one recording (asset id or sha256) to stdout, verified.

    The beginning of an asset id is enough. With --json the bytes are read and verified, and told about.

    \b
    lake cat 9f86d081884c7d65... > recording.wav
    """
    from jobs.context import open_job
    from lake.catalog.read import find_blob, open_content

    job = open_job(invocation)
    ref = find_blob(job.tables, recording)
    with open_content(job.store, ref) as stream:
        if not invocation.json:
            shutil.copyfileobj(stream, sys.stdout.buffer, CHUNK_BYTES)
            sys.stdout.buffer.flush()
            return
        size_bytes = sum(len(chunk) for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""))
    invocation.emit({"sha256": ref.sha256, "content_type": ref.content_type, "bytes": size_bytes})
