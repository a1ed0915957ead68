"""``lake maintain``: the upkeep that a scheduler runs every night."""

from __future__ import annotations

import click

from jobs.cli import EXIT_FINDINGS, Invocation, Verb


@click.command(cls=Verb)
@click.option(
    "--hold-hours", type=click.IntRange(min=1), default=168, show_default=True, help="Delete nothing that is newer."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@click.pass_obj
def command(invocation: Invocation, hold_hours: int, dry_run: bool) -> int:
    """Merge small files and packs, and delete what nothing leads to any more.

    Safe at any time: running readers and writers are left what they have.

    \b
    lake maintain --dry-run
    lake maintain
    """
    from jobs.context import Engines, open_job
    from jobs.upkeep import maintain

    job = open_job(invocation)
    with Engines(job.settings, None, "lake maintain") as engines:
        document = maintain(job, invocation, engines, hold_hours, dry_run=dry_run)
    if not invocation.emit(document):
        for name, table in document["tables"].items():
            click.echo(
                f"{name}: {table['files_before']:,} files, {table['bytes_before']:,} bytes,"
                f" now {table['files_after']:,}, {table['bytes_after']:,}; {table['removed']:,} old ones removed"
            )
        click.echo(
            f"packs: {document['compact']['rewritten']:,} of {document['compact']['packs']:,} rewritten;"
            f" {document['gc']['deleted']:,} objects deleted ({document['gc']['deleted_bytes']:,} bytes)"
        )
    return EXIT_FINDINGS if document["compact"]["damaged"] else 0
