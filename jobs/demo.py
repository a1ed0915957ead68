"""``lake demo``: the guided tour, from devices to a report, checked against what the devices really recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import Invocation, Verb

if TYPE_CHECKING:
    from connectors.simulated import File, Truth
    from jobs.context import Engines, Job
    from lake.model import Row

DEMO_ROOT = "lake-demo"
DEMO_SOURCE = "simulated://city?seed=7&minutes=2"
EXIT_FAILED = 1
DURATION_TOLERANCE_S = 0.2


@click.command(cls=Verb)
@click.option("--data", metavar="FOLDER", help="Your own folder instead of simulated devices.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where the page is written; default: report.html below the root.",
)
@click.pass_obj
def command(invocation: Invocation, data: str | None, output: str | None) -> int:
    """The whole way once: init, ingest, analyze, library build, report.

    Without --data the devices are simulated: three cameras, two microphones and a scanner, one of them flaky. The
    lake is then checked against the truth about them.

    \b
    lake demo
    lake demo --data ~/Pictures
    """
    import os

    from jobs.context import Engines, open_job

    if invocation.root is None and not os.environ.get("LAKE_ROOT"):
        invocation.root = DEMO_ROOT
    if data is not None and "://" not in data and not Path(data).is_dir():
        raise click.UsageError(f"--data {data!r} is no folder")
    job = open_job(invocation, must_exist=False)
    with Engines(job.settings, None, "lake demo") as engines:
        document = run_demo(job, invocation, engines, data, output)
    if not invocation.emit(document):
        _print(document)
    return EXIT_FAILED if document["differences"] else 0


def run_demo(
    job: Job, invocation: Invocation, engines: Engines, data: str | None, output: str | None
) -> dict[str, Any]:
    """Run the five verbs on one engine and return the verb's document."""
    from jobs.analyze import analyze_all
    from jobs.ingest import ingest_source, make_plan
    from jobs.library import build_library
    from lake.catalog.create import create_lake
    from lake.catalog.report import write_report

    def step(text: str) -> None:
        if not invocation.json:
            click.echo(f"▸ {text}", err=True)

    step(f"init     {job.settings.root}")
    create_lake(job.settings, job.tables, job.store)
    step(f"ingest   {data or 'simulated devices (a few seconds to record)'}")
    plan = make_plan(job, data or DEMO_SOURCE, None)
    ingested = ingest_source(job, invocation, plan, engines)
    step("analyze  document_text, keyframes, speech, loudness, image_hash")
    analysed = analyze_all(job, invocation, (), engines)
    libraries = {}
    for name in ("hotline_audio", "site_watch"):
        step(f"library  {name} (by Spark)")
        libraries[name] = build_library(job, invocation, name, engines)
    step("report")
    target = Path(output) if output else Path("lake-report.html" if job.settings.is_s3 else job.settings.root)
    target = target / "report.html" if target.is_dir() else target
    path = write_report(job.tables, job.store, job.settings, target)
    return {
        "root": job.settings.root,
        "ingest": ingested,
        "analyze": analysed,
        "libraries": libraries,
        "kinds": _kinds(job),
        "quarantine": _reasons(job),
        "differences": [] if data else differences(job, plan.context.connector.truth),  # type: ignore[attr-defined]
        "checked": not data,
        "path": str(path.resolve()),
    }


def differences(job: Job, truth: Truth) -> list[str]:
    """Where the lake is not what the simulated devices delivered, in words; empty when all is right."""
    from lake.catalog.query import local_sql

    query = (
        "SELECT s.key, s.state, s.sha256, a.media_kind, a.captured_at_utc, a.duration_s"
        " FROM arrival_state s LEFT JOIN assets a ON a.asset_id = s.asset_id WHERE starts_with(s.source, 'simulated')"
    )
    found = {_unescaped(row["key"]): row for row in local_sql(job.tables, query).to_pylist()}
    wrong = []
    for file in truth.files:
        row = found.pop(_unescaped(file.key), None)
        if row is None:
            wrong.append(f"{file.key} is missing")
            continue
        wrong += [f"{file.key}: {text}" for text in _differs(file, row)]
    return wrong + [f"{key} was never delivered" for key in found]


def _differs(file: File, row: Row) -> list[str]:
    names = ["state", "sha256", "captured_at_utc"] + (["media_kind"] if file.state != "quarantined" else [])
    wrong = [
        f"{name} is {row[name]}, delivered was {getattr(file, name)}"
        for name in names
        if row[name] != getattr(file, name)
    ]
    lasts = file.duration_s if file.state != "quarantined" else None
    if lasts is not None and abs((row["duration_s"] or 0) - lasts) > DURATION_TOLERANCE_S:
        wrong.append(f"lasts {row['duration_s']} s, delivered were {lasts} s")
    return wrong


def _unescaped(key: str) -> str:
    from urllib.parse import unquote

    return unquote(key)


def _kinds(job: Job) -> list[Row]:
    from lake.catalog.query import local_sql

    query = """
        SELECT coalesce(a.media_kind, 'unreadable') AS kind,
               count(*) FILTER (s.state = 'landed') AS landed,
               count(*) FILTER (s.state = 'duplicate') AS duplicates,
               count(*) FILTER (s.state = 'quarantined') AS quarantined,
               sum(s.size_bytes)::BIGINT AS bytes
        FROM arrival_state s LEFT JOIN assets a ON a.asset_id = s.asset_id GROUP BY 1 ORDER BY 1"""
    rows: list[Row] = local_sql(job.tables, query).to_pylist()
    return rows


def _reasons(job: Job) -> list[Row]:
    from jobs.quarantine import quarantined

    return [
        {"path": row["path"], "stage": row["analysis"] or row["stage"], "reason": row["message"]}
        for row in quarantined(job, "quarantine_open", None, 50)
    ]


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from jobs.progress import human_bytes

    console = Console()
    table = Table("kind", title="What was landed")
    for name in ("landed", "duplicates", "quarantined", "bytes"):
        table.add_column(name, justify="right")
    for row in document["kinds"]:
        counts = (f"{row[name]:,}" for name in ("landed", "duplicates", "quarantined"))
        table.add_row(row["kind"], *counts, human_bytes(row["bytes"] or 0))
    console.print(table)
    if document["quarantine"]:
        table = Table("recording", "stage", "reason", title="What was quarantined, and why")
        for row in document["quarantine"]:
            table.add_row(*(Text(str(row[name] or "")) for name in ("path", "stage", "reason")))
        console.print(table)
    table = Table("library", "version", "table", title="Thematic libraries")
    table.add_column("rows", justify="right")
    for name, library in document["libraries"].items():
        for number, (each, counts) in enumerate(library["tables"].items()):
            first = (name, str(library["version"])) if number == 0 else ("", "")
            table.add_row(*first, each, f"{counts['rows']:,}")
    console.print(table)
    if document["checked"]:
        wrong = document["differences"]
        told = "the lake holds exactly what the devices delivered" if not wrong else f"{len(wrong)} differences"
        click.echo(f"checked against the simulation: {told}")
        for text in wrong:
            click.echo(f"  {text}", err=True)
    click.echo(f"root:   {document['root']}")
    click.echo(f"report: {document['path']}")
