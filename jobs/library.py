"""``lake library``: thematic libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobs.cli import Invocation, VerbGroup

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from jobs.context import Engines, Job


SHOWN_VERSIONS = 5
"""Versions that ``lake library show`` prints; ``--json`` has them all."""


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
    from jobs.context import open_job
    from jobs.sql import print_rows
    from lake.library.catalog import list_libraries
    from lake.library.spec import load_themes

    job = open_job(invocation)
    rows = list_libraries(job.tables, load_themes(job.settings.conf_dir / "themes"))
    if not invocation.emit({"rows": rows}):
        lines = [{**row, "rows": _total_rows(row), "rules_broken": len(_broken(row)) or None} for row in rows]
        print_rows(["name", "title", "owner", "version", "built_at_utc", "rows", "rules_broken"], lines)


@command.command()
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """One library: its tables, rows, quality and versions.

    \b
    lake library show site_watch
    """
    from jobs.context import open_job
    from lake.library.catalog import show_library
    from lake.library.spec import load_themes

    job = open_job(invocation)
    theme = load_themes(job.settings.conf_dir / "themes").get(name)
    document = show_library(job.tables, name, theme)
    if theme is None and not document["versions"]:
        find_theme(job, name)
    if not invocation.emit(document):
        print_library(document)


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
        print_build(document, dry_run=dry_run)


def find_theme(job: Job, name: str) -> Any:
    """A library's description; ``UsageError`` names the ones there are."""
    from lake.errors import UsageError
    from lake.library.spec import load_themes

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

    from jobs.context import recorded
    from lake.library.build import build

    spec = find_theme(job, name)
    started = time.monotonic()
    if dry_run:
        return build(engines.spark, job.tables, spec, "dry-run", dry_run=True).document()
    with recorded(job, invocation, "library build", exclusive=[f"build of library {name}"]) as run:

        def spark() -> SparkSession:
            run.engine = "spark"
            return engines.spark()

        result = build(spark, job.tables, spec, run.run_id)
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


def print_build(document: dict[str, Any], *, dry_run: bool = False) -> None:
    """What a build did, or would do, for a person."""
    refused = any(rule["severity"] == "error" for rule in _broken(document))
    if dry_run:
        said = "would be refused" if refused else "would be published"
        said = said if document["changed"] else "stands: nothing would change"
    else:
        said = "published" if document["published"] else "stands: nothing changed"
    click.echo(f"{document['name']} version {document['version']} {said}")
    for name, table in document["tables"].items():
        click.echo(
            f"  {name:16} {table['rows']:>8,} rows: {table['added']:,} added, {table['changed']:,} changed, "
            f"{table['removed']:,} removed"
        )
    _print_quality(document)


def print_library(document: dict[str, Any]) -> None:
    """One library for a person."""
    click.echo(" ".join(filter(None, (document["name"], document["title"]))))
    if document["description"]:
        click.echo(f"  {document['description']}")
    click.echo(f"  owner    {document['owner'] or 'unknown: no file in conf/themes describes it'}")
    if document["version"] is None:
        click.echo(f"  version  none: run `lake library build {document['name']}`")
    for number, version in enumerate(document["versions"][:SHOWN_VERSIONS]):
        at = f"{version['built_at_utc']:%Y-%m-%d %H:%M:%S} UTC"
        click.echo(f"  {'' if number else 'version':7}  {version['version']}, built {at} by run {version['run_id']}")
    if len(document["versions"]) > SHOWN_VERSIONS:
        click.echo(f"  {'':7}  and {len(document['versions']) - SHOWN_VERSIONS:,} older")
    if document["described_as_built"] is False:
        click.echo("           its description, or an analysis it reads, has changed since: build it again")
    if document["inputs"]:
        read = (f"{name} {'(empty)' if at is None else f'@{at}'}" for name, at in document["inputs"].items())
        click.echo(f"  inputs   {', '.join(read)}")
    for name, table in document["tables"].items():
        rows = "" if table["rows"] is None else f"{table['rows']:,} rows; "
        key = f"key {', '.join(table['key'])}" if "key" in table else "described no more"
        click.echo(f"  {name}: {rows}{key}")
        if table.get("description"):
            click.echo(f"    {table['description']}")
    _print_quality(document)


def _print_quality(document: dict[str, Any]) -> None:
    rules, broken = document["quality"]["rules"], _broken(document)
    if rules:
        click.echo(f"  quality  {len(rules) - len(broken)} of {len(rules)} rules hold")
    for rule in broken:
        click.echo(f"    {rule['severity']:5} {rule['table']}.{rule['rule']}: {rule['failed_rows']:,} rows")


def _broken(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for rule in document["quality"]["rules"] if not rule["ok"]]


def _total_rows(document: dict[str, Any]) -> int | None:
    counts = [table["rows"] for table in document["tables"].values()]
    return None if None in counts else sum(counts)
