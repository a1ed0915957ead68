"""``lake store``: the pack store."""

from __future__ import annotations

import sys
from typing import Any

import click

from jobs.cli import EXIT_FINDINGS, Invocation, VerbGroup
from lake.errors import UsageError


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
@click.option("--objects", type=click.IntRange(min=1), required=True, help="Recordings that are to be landed.")
@click.option("--mean-bytes", type=click.IntRange(min=0), required=True, help="Their bytes on average.")
@click.pass_obj
def plan(invocation: Invocation, objects: int, mean_bytes: int) -> None:
    """Predict packs, write requests, index and hours for so many recordings; no lake is needed.

    \b
    lake store plan --objects 10000000 --mean-bytes 50000
    """
    from jobs.sql import print_rows
    from lake.settings import load_settings
    from lake.store.plan import Shape, predict

    ingest = load_settings(invocation.root, invocation.profile).ingest
    shape = Shape(ingest.wave_max_arrivals, ingest.wave_max_bytes, ingest.pack_target_bytes, ingest.max_blob_bytes)
    document = vars(predict(objects, mean_bytes, shape))
    if not invocation.emit(document):
        print_rows(["what", "value"], [{"what": key, "value": value} for key, value in document.items()])


@command.command()
@click.option("--dry-run", is_flag=True, help="Count what is missing and write nothing.")
@click.pass_obj
def rebuild(invocation: Invocation, dry_run: bool) -> int:
    """Add to the table of blobs what the packs and large blobs hold, and to that of assets what arrived of it.

    Exit 3 when something in the store is damaged or lost; each such thing is told on stderr.

    \b
    lake store rebuild --dry-run
    lake store rebuild
    """
    from jobs.context import Engines, open_job
    from jobs.upkeep import rebuild_index

    job = open_job(invocation)
    with Engines(job.settings, None, "lake store rebuild") as engines:
        document = rebuild_index(job, invocation, engines, dry_run=dry_run)
    if not invocation.emit(document):
        click.echo(
            f"{document['blobs']:,} blobs in {document['packs']:,} packs ({document['from_footers']:,} read by their"
            f" footer, {document['from_frames']:,} by their frames) and large objects: {document['added']:,}"
            f" {'to be ' if dry_run else ''}added to the table, {document['assets']:,} assets"
            f" {'to be ' if dry_run else ''}added to theirs, {document['damaged']:,} damaged or lost;"
            f" {document['seconds'] / max(document['bytes'], 1) * 1e9:.1f} s a GB"
        )
        for finding in document["findings"]:
            click.echo(finding, err=True)
    return EXIT_FINDINGS if document["damaged"] else 0


_ENGINE = click.option(
    "--engine", type=click.Choice(["auto", "local", "spark"]), help="Where it runs; auto is Spark on a cluster."
)


@command.command()
@_ENGINE
@click.option(
    "--recompress/--no-recompress", default=None, help="Compress without loss; else the setting store.recompress."
)
@click.option("--dry-run", is_flag=True, help="Count what would be rewritten and write nothing.")
@click.pass_obj
def compact(invocation: Invocation, engine: str | None, recompress: bool | None, dry_run: bool) -> int:
    """Rewrite packs that are small or have more than 25 % dead bytes.

    With --recompress also those with much that is not compressed: WAV becomes FLAC, what else pays Zstandard. The
    original bytes come back exactly; that is proven before the old ones are let go.

    \b
    lake store compact --dry-run
    lake store compact
    lake store compact --recompress
    """
    from jobs.context import Engines, open_job
    from jobs.upkeep import compact_store

    job = open_job(invocation)
    with Engines(job.settings, engine, "lake store compact") as engines:
        document = compact_store(job, invocation, engines, recompress=recompress, dry_run=dry_run)
    if not invocation.emit(document):
        would = "would move" if dry_run else "moved"
        click.echo(
            f"{document['rewritten']:,} of {document['packs']:,} packs: {would} {document['blobs_moved']:,} blobs,"
            f" {document['bytes_moved']:,} bytes, into {document['written']:,} packs; `lake store gc` takes the old"
        )
        if document["bytes_saved"]:
            click.echo(f"compression saves {document['bytes_saved']:,} bytes")
        for finding in document["findings"]:
            click.echo(finding, err=True)
    return EXIT_FINDINGS if document["damaged"] else 0


@command.command()
@click.option(
    "--hold-hours", type=click.FloatRange(min=0), default=168.0, show_default=True, help="Keep what is newer."
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted and delete nothing.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.pass_obj
def gc(invocation: Invocation, hold_hours: float, dry_run: bool, yes: bool) -> None:
    """Delete packs and large blobs that no retained version of the tables leads to.

    \b
    lake store gc --dry-run
    lake store gc --yes
    """
    from jobs.context import open_job
    from jobs.upkeep import collect_garbage

    job = open_job(invocation)
    if not dry_run and not yes:
        found = collect_garbage(job, invocation, hold_hours, dry_run=True)
        if not found["deleted"]:
            dry_run = True
        elif not sys.stdin.isatty():
            raise UsageError(f"{found['deleted']:,} objects would be deleted: say --yes, or --dry-run to see them")
        else:
            click.confirm(
                f"Delete {found['deleted']:,} objects, {found['deleted_bytes']:,} bytes?", abort=True, err=True
            )
    document = collect_garbage(job, invocation, hold_hours, dry_run=dry_run)
    if not invocation.emit(document):
        click.echo(
            f"{document['objects']:,} objects, {document['orphans']:,} that nothing leads to:"
            f" {document['deleted']:,} {'would be ' if dry_run else ''}deleted ({document['deleted_bytes']:,} bytes),"
            f" {document['held']:,} held"
        )


@command.command()
@_ENGINE
@click.option(
    "--max-age-days",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Skip what was found whole within so many days.",
)
@click.option("--repair", is_flag=True, help="Restore from --replica; without one, quarantine what is hurt.")
@click.option("--replica", metavar="URI", help="A root with the same objects: a folder or s3://bucket/prefix.")
@click.pass_obj
def scrub(invocation: Invocation, engine: str | None, max_age_days: float, repair: bool, replica: str | None) -> int:
    """Read every object that was not read for long, and every file of the tables, and compare with the checksums.

    Exit 3 when something is damaged or lost that was not repaired.

    \b
    lake store scrub
    lake store scrub --max-age-days 0 --repair --replica /mnt/copy
    """
    from jobs.context import Engines, open_job
    from jobs.upkeep import scrub_store

    job = open_job(invocation)
    with Engines(job.settings, engine, "lake store scrub") as engines:
        document = scrub_store(job, invocation, engines, max_age_days, repair=repair, replica=replica)
    if not invocation.emit(document):
        _print_scrub(document)
    return EXIT_FINDINGS if document["damaged"] > document["repaired"] or document["missing"] else 0


def _print_scrub(document: dict[str, Any]) -> None:
    rate = document["bytes"] / document["seconds"] / 1e6 if document["seconds"] else 0.0
    click.echo(
        f"{document['objects']:,} objects with {document['blobs']:,} blobs read ({document['bytes']:,} bytes,"
        f" {rate:,.0f} MB/s), {document['skipped']:,} were whole not long ago; {document['damaged']:,} damaged places,"
        f" {document['missing']:,} objects missing, {document['repaired']:,} repaired"
    )
    for finding in document["findings"]:
        click.echo(f"{finding['key']} at {finding['offset']}: {finding['said']}", err=True)
    if document["assets"]:
        click.echo(
            f"{len(document['assets']):,} assets cannot be read whole: {', '.join(document['assets'][:5])} …", err=True
        )
    if document["libraries"]:
        click.echo(f"libraries with such recordings: {', '.join(document['libraries'])}", err=True)


@command.command()
@click.argument("recordings", nargs=-1, metavar="[RECORDING]...")
@click.option("--device", "devices", multiple=True, metavar="ID", help="All recordings of a device.")
@click.option("--query", metavar="SQL", help="All that a SELECT names in a column asset_id or sha256.")
@click.option("--reason", metavar="TEXT", help="Why; it stands in the certificate.")
@click.option("--finish", is_flag=True, help="Complete what an erasure that was interrupted left.")
@click.option("--dry-run", is_flag=True, help="List what would be erased and erase nothing.")
@click.option("--yes", is_flag=True, help="Erase without asking.")
@click.pass_obj
def erase(
    invocation: Invocation,
    recordings: tuple[str, ...],
    devices: tuple[str, ...],
    query: str | None,
    reason: str | None,
    finish: bool,
    dry_run: bool,
    yes: bool,
) -> int:
    """Erase recordings for good, with all that was made of them: by asset id or sha256, by device or by a query.

    Reads stop at once. What is left goes when nobody works in the lake, and others wait meanwhile: rows of all tables,
    packs, and every older version of them. The table erasures certifies each removal. Exit 3 when something could not
    be cleared.

    \b
    lake store erase --device cam-gate --dry-run
    lake store erase 1f0c9a44 --reason "request 2026-118" --yes
    """
    from jobs.context import Engines, open_job
    from jobs.erase import erase_recordings, preview_erasure
    from lake.catalog.selection import chosen_contents

    named = bool(recordings or devices or query)
    if not (named or finish):
        raise UsageError("name recordings, --device or --query; --finish alone completes what was interrupted")
    if named and not (reason or dry_run):
        raise UsageError("say why with --reason: it stands in the certificate")
    job = open_job(invocation)
    chosen = chosen_contents(job.tables, recordings, devices, query)
    with Engines(job.settings, None, "lake store erase") as engines:
        # To finish what was begun was decided when it began.
        if dry_run or (named and not yes):
            document = preview_erasure(job, invocation, engines, chosen)
            if not dry_run:
                _confirm_erasure(document)
        if not dry_run:
            document = erase_recordings(job, invocation, engines, chosen, reason or "what was begun is ended")
    if not invocation.emit(document):
        _print_erasure(document, dry_run=dry_run)
    return EXIT_FINDINGS if document["unresolved"] else 0


def _confirm_erasure(document: dict[str, Any]) -> None:
    said = f"{document['assets']:,} recordings, {document['bytes']:,} bytes"
    if not sys.stdin.isatty():
        raise UsageError(f"{said} would be erased: say --yes, or --dry-run to see them")
    click.confirm(f"Erase {said}? Nothing brings them back.", abort=True, err=True)


def _print_erasure(document: dict[str, Any], *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    click.echo(
        f"{document['assets']:,} recordings with {document['contents']:,} contents ({document['bytes']:,} bytes)"
        f" {would}erased: {sum(document['rows'].values()):,} rows of {len(document['rows'])} tables,"
        f" {document['objects']:,} objects, {document['files']:,} older files, {document['versions']:,} older versions"
    )
    for name, rows in document["rows"].items():
        click.echo(f"  {name}: {rows:,} rows")
    for library in document["built"]:
        click.echo(f"  library {library}: {would}built anew")
    for finding in document["unresolved"]:
        click.echo(finding, err=True)
