"""``lake library``: thematic libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.cli import Invocation, VerbGroup

if TYPE_CHECKING:
    from jobs.context import Engines, Job


@click.group(cls=VerbGroup)
def command() -> None:
    """Thematic libraries: curated, versioned tables with the recordings behind them."""


@command.command("list")
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """The libraries that are described, and their published versions.

    \b
    lake library list
    """
    from lake.library.catalog import list_libraries
    from lake.library.spec import load_themes

    from jobs.context import open_job
    from jobs.sql import print_rows

    job = open_job(invocation)
    rows = list_libraries(job.tables, load_themes(job.settings.conf_dir / "themes"))
    if not invocation.emit({"rows": rows}):
        print_rows(["name", "title", "owner", "version", "built_at_utc"], rows)


@command.command()
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """One library: tables, rows, quality, versions.

    \b
    lake library show site_watch
    """
    from lake.library.catalog import show_library

    from jobs.context import open_job
    from jobs.sql import print_rows

    job = open_job(invocation)
    document = show_library(job.tables, find_theme(job, name))
    if not invocation.emit(document):
        print_rows(["field", "value"], [{"field": k, "value": v} for k, v in document.items()])


@command.command()
@click.argument("name")
@click.pass_obj
def plan(invocation: Invocation, name: str) -> None:
    """What a build would add, change and remove; writes nothing.

    \b
    lake library plan site_watch
    """
    _build(invocation, name, dry_run=True)


@command.command()
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would change.")
@click.pass_obj
def build(invocation: Invocation, name: str, dry_run: bool) -> None:
    """Build a library and publish it as a new version, when anything changed.

    \b
    lake library build site_watch
    """
    _build(invocation, name, dry_run=dry_run)


def _build(invocation: Invocation, name: str, *, dry_run: bool) -> None:
    from jobs.context import Engines, open_job

    job = open_job(invocation)
    with Engines(job.settings, "spark", f"lake library {name}") as engines:
        document = build_library(job, invocation, name, engines, dry_run=dry_run)
    if not invocation.emit(document):
        print_build(document)


def find_theme(job: Job, name: str) -> Any:
    """A library's description; ``UsageError`` names the ones there are."""
    from lake.library.spec import load_themes

    from lake.errors import UsageError

    themes = load_themes(job.settings.conf_dir / "themes")
    if name not in themes:
        raise UsageError(
            f"no library {name!r} in {job.settings.conf_dir}/themes: known are {', '.join(sorted(themes))}"
        )
    return themes[name]


def build_library(
    job: Job, invocation: Invocation, name: str, engines: Engines, *, dry_run: bool = False
) -> dict[str, Any]:
    """Build one library, recorded as a run, and return the verb's document."""
    import time

    from lake.library.build import build

    from jobs.context import utc_now
    from lake.catalog.runs import record_run

    spec = find_theme(job, name)
    started = time.monotonic()
    if dry_run:
        return build(engines.spark(), job.tables, spec, "dry-run", dry_run=True).document()
    with record_run(job.tables, "library build", invocation.argv, utc_now) as run:
        result = build(engines.spark(), job.tables, spec, run.run_id)
        run.engine = "spark"
        document = result.document()
        rows = sum(table["rows"] for table in document["tables"].values())
        run.stage(
            name,
            rows_in=rows,
            rows_out=rows,
            rows_failed=0,
            size_bytes=0,
            seconds=time.monotonic() - started,
            record_seconds=[],
        )
    return {"run_id": run.run_id, **document, "seconds": round(time.monotonic() - started, 3)}


def print_build(document: dict[str, Any]) -> None:
    click.echo(f"{document['name']} version {document['version']}")
    for name, table in document["tables"].items():
        click.echo(
            f"  {name:16} {table['rows']:>8,} rows: {table['added']:,} added, {table['changed']:,} changed, "
            f"{table['removed']:,} removed"
        )
