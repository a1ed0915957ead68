"""``lake quarantine``: what failed, why, and trying it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import Invocation, VerbGroup, model_choice, own_analyses

if TYPE_CHECKING:
    from jobs.context import Engines, Job
    from lake.model import Row


@click.group(cls=VerbGroup)
def command() -> None:
    """Recordings that could not be used, each with its reason."""


@command.command("list")
@click.option("--all", "everything", is_flag=True, help="Also failures that a later attempt mended.")
@click.option("--stage", type=click.Choice(["ingest", "analyze"]), help="Failures of one stage.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="Newest rows shown.")
@click.pass_obj
def list_(invocation: Invocation, everything: bool, stage: str | None, limit: int) -> None:
    """What is in quarantine now.

    \b
    lake quarantine list
    lake quarantine list --stage ingest --json
    """
    from jobs.context import open_job
    from jobs.sql import print_rows

    job = open_job(invocation)
    rows = quarantined(job, "quarantine" if everything else "quarantine_open", stage, limit)
    if not invocation.emit({"rows": rows}):
        print_rows(["path", "stage", "analysis", "error_class", "message", "attempt"], rows)


@command.command()
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """Every attempt at one recording, named by its path, sha256, asset or arrival (or the beginning of an id).

    \b
    lake quarantine show cam-flaky/20260301T080200Z.mp4
    """
    from jobs.context import open_job
    from jobs.sql import print_rows
    from lake.catalog.query import local_sql
    from lake.errors import NotFound

    job = open_job(invocation)
    query = (
        "SELECT * FROM quarantine WHERE path = $name OR (length($name) >= 6 AND (starts_with(sha256, $name) OR"
        " starts_with(asset_id, $name) OR starts_with(arrival_id, $name))) ORDER BY at_utc"
    )
    rows = local_sql(job.tables, query, {"name": name}).to_pylist()
    if not rows:
        raise NotFound(f"nothing called {name!r} in quarantine: `lake quarantine list` shows what is")
    if not invocation.emit({"rows": rows}):
        for row in rows:
            print_rows(["field", "value"], [{"field": key, "value": value} for key, value in row.items()])


@command.command()
@click.option("--stage", type=click.Choice(["ingest", "analyze"]), help="Failures of one stage only.")
@click.option("--analysis", metavar="NAME", help="Failures of one analysis only.")
@own_analyses("A Python file with analyses of your own: their failures are tried again too.")
@model_choice
@click.option("--engine", type=click.Choice(["auto", "local", "spark"]), help="Where it runs.")
@click.option("--dry-run", is_flag=True, help="Count what would be tried.")
@click.pass_obj
def retry(
    invocation: Invocation,
    stage: str | None,
    analysis: str | None,
    modules: tuple[str, ...],
    models: tuple[str, ...],
    device: str | None,
    engine: str | None,
    dry_run: bool,
) -> None:
    """Try again what is in quarantine: from the stored bytes, or from the source where there are none.

    \b
    lake quarantine retry
    lake quarantine retry --analysis document_text
    """
    from jobs.context import Engines, open_job
    from jobs.models import with_choice

    job = with_choice(open_job(invocation), models, device)
    with Engines(job.settings, engine, "lake quarantine retry") as engines:
        document = retry_all(job, invocation, engines, stage, analysis, modules, dry_run=dry_run)
    if not invocation.emit(document):
        mended = f"tried again: {document['mended']:,} mended, {document['failed']:,} failed again"
        click.echo(f"{document['tried']:,} {'would be tried again' if dry_run else mended}")
        for lost in document["sources_lost"]:
            click.echo(f"not tried, the source cannot be opened: {lost}", err=True)
        for name, count in document["left_out"].items():
            click.echo(
                f"not tried, {count:,} of {name}: choose its model by --model, or name its file by --module", err=True
            )


def retry_all(
    job: Job,
    invocation: Invocation,
    engines: Engines,
    stage: str | None = None,
    analysis: str | None = None,
    modules: Sequence[str] = (),
    *,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Try again and return the verb's document."""
    from lake.ingest.retry import open_failures

    names = _names(job, analysis, modules)
    failed = open_failures(job.tables) if stage != "analyze" and analysis is None else []
    every = _failed_analyses(job) if stage != "ingest" else []
    pairs = [(sha256, name) for sha256, name in every if name in names]
    left_out = Counter(name for _, name in every if name not in names) if analysis is None else {}
    document: dict[str, Any] = {"tried": len(failed) + len(pairs), "mended": 0, "failed": 0, "sources_lost": []}
    document["left_out"] = dict(left_out)
    if dry_run:
        return document
    if failed:
        _ingest_again(job, invocation, engines, failed, document)
    if pairs:
        _analyze_again(job, invocation, engines, pairs, modules, document)
    return document


def _ingest_again(
    job: Job, invocation: Invocation, engines: Engines, failed: list[Row], document: dict[str, Any]
) -> None:
    from connectors import connect
    from jobs.context import recorded, utc_now
    from jobs.ingest import plan_for, source_options
    from lake.ingest.commit import RunFacts
    from lake.ingest.retry import Retry, open_failures, retry_ingest

    exclusive = ["quarantine retry", *{f"ingest of {row['source']}" for row in failed}]
    with recorded(job, invocation, "quarantine retry", exclusive=exclusive) as run:
        failed = open_failures(job.tables)  # another retry may have been waited for
        retry = Retry(
            store=job.store,
            tables=job.tables,
            connect=lambda source: connect(source, **source_options(job, source)),
            plan=lambda connector: plan_for(job, connector, None),
            engine=engines.started,
            facts=RunFacts(run.run_id, utc_now()),
        )
        report = retry_ingest(retry, failed)
        run.engine = engines.said
        run.stage(
            "ingest",
            rows_in=report.tried,
            rows_out=report.mended,
            rows_failed=report.failed,
            size_bytes=sum(row["size_bytes"] or 0 for row in failed),
            seconds=(utc_now() - retry.facts.now).total_seconds(),
        )
    document["mended"] += report.mended
    document["failed"] += report.failed
    document["sources_lost"] = report.sources_lost


def _analyze_again(
    job: Job,
    invocation: Invocation,
    engines: Engines,
    pairs: list[tuple[str, str]],
    modules: Sequence[str],
    document: dict[str, Any],
) -> None:
    from jobs.analyze import analyze_all

    names = sorted({name for _, name in pairs})
    analyze_all(job, invocation, names, engines, retry=pairs, modules=modules)
    again = set(_failed_analyses(job)) & set(pairs)
    document["failed"] += len(again)
    document["mended"] += len(pairs) - len(again)


def _names(job: Job, analysis: str | None, modules: Sequence[str]) -> list[str]:
    """The analyses whose failures are tried again: the one that is named, else all there are and have their models."""
    from lake.analysis.models import runnable
    from lake.analysis.registry import ANALYSES
    from lake.analysis.user_module import chosen, read_module

    files = [read_module(path) for path in modules]
    if analysis is not None:
        return list(chosen(ANALYSES, files, [analysis])[0])
    every = [*ANALYSES.values(), *(chosen(ANALYSES, files, [])[0].values() if files else [])]
    return [each.name for each in runnable(every, job.settings.analysis.models)]


def _failed_analyses(job: Job) -> list[tuple[str, str]]:
    """(sha256, analysis) of what failed."""
    rows = quarantined(job, "quarantine_open", "analyze", 10**9)
    return sorted({(row["sha256"], row["analysis"]) for row in rows})


def quarantined(job: Job, table: str, stage: str | None, limit: int) -> list[Row]:
    """Failures, newest first; an analysis knows its content only, so a path is looked up."""
    from lake.catalog.query import local_sql

    query = f"""SELECT q.* EXCLUDE (path), coalesce(q.path, a.path) AS path
        FROM {table} q LEFT JOIN (SELECT sha256, min(path) AS path FROM assets GROUP BY 1) a USING (sha256)
        WHERE $stage IS NULL OR q.stage = $stage ORDER BY q.at_utc DESC, q.path LIMIT $limit"""  # noqa: S608
    rows: list[Row] = local_sql(job.tables, query, {"stage": stage, "limit": limit}).to_pylist()
    return rows
