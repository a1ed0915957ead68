"""``lake analyze``: run analyses on what lacks a result."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import EXIT_RECORDS_FAILED, Invocation, Verb

if TYPE_CHECKING:
    from jobs.context import Engines, Job
    from lake.analysis.runner import AnalyzePlan


@click.command(cls=Verb)
@click.argument("names", nargs=-1)
@click.option(
    "--engine",
    type=click.Choice(["auto", "local", "spark"]),
    help="Where it runs; auto is Spark on a cluster, else processes here.",
)
@click.option("--strict", is_flag=True, help="Exit 5 when some recordings failed.")
@click.option("--dry-run", is_flag=True, help="Count what would be analysed.")
@click.pass_obj
def command(invocation: Invocation, names: tuple[str, ...], engine: str | None, strict: bool, dry_run: bool) -> int:
    """Run all (or the named) analyses on every recording that lacks their result.

    \b
    lake analyze
    lake analyze speech loudness
    """
    from jobs.context import Engines, open_job

    job = open_job(invocation)
    if dry_run:
        document = _dry_run(job, names)
    else:
        with Engines(job.settings, engine, "lake analyze") as engines:
            document = analyze_all(job, invocation, names, engines)
    if not invocation.emit(document):
        for name, counts in document["analyses"].items():
            click.echo(
                f"{name:16} {counts['done']:>8,} done {counts['skipped']:>8,} skipped {counts['failed']:>6,} failed"
            )
    failed = sum(counts["failed"] for counts in document["analyses"].values())
    return EXIT_RECORDS_FAILED if strict and failed else 0


def analyze_all(
    job: Job,
    invocation: Invocation,
    names: Iterable[str],
    engines: Engines,
    retry: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Run analyses, recorded as a run, and return the verb's document."""
    import time

    from jobs.context import recorded, utc_now
    from jobs.progress import Progress
    from lake.analysis.registry import ANALYSES
    from lake.analysis.runner import analyze

    names = list(names)
    exclusive = [f"analysis {name}" for name in names or ANALYSES]
    started = time.monotonic()
    with (
        Progress("analyze", unit="results", quiet=invocation.json) as progress,
        recorded(job, invocation, "analyze", exclusive=exclusive) as run,
    ):
        plan = make_plan(job, names, run.run_id)
        report = analyze(
            plan,
            engines.started,
            utc_now,
            lambda r: progress.update(r.recordings, r.recordings_total, r.bytes),
            retry,
        )
        run.engine = engines.said
        run.stage(
            "analyze",
            rows_in=report.recordings_total,
            rows_out=report.rows,
            rows_failed=report.failed,
            size_bytes=report.bytes,
            seconds=time.monotonic() - started,
            record_seconds=report.record_seconds,
        )
    return {
        "run_id": run.run_id,
        "engine": run.engine,
        "analyses": report.analyses,
        "rows": report.rows,
        "bytes": report.bytes,
        "seconds": round(time.monotonic() - started, 3),
    }


def make_plan(job: Job, names: Iterable[str], run_id: str) -> AnalyzePlan:
    """The run's values from settings, registry and the command line."""
    from lake.analysis.registry import ANALYSES
    from lake.analysis.runner import AnalyzePlan
    from lake.analysis.worker import AnalysisContext
    from lake.errors import UsageError

    wanted = list(names) or list(ANALYSES)
    for name in wanted:
        if name not in ANALYSES:
            raise UsageError(f"no analysis {name!r}: known are {', '.join(ANALYSES)}")
    analyses = {name: ANALYSES[name] for name in wanted}
    settings = job.settings
    context = AnalysisContext(
        store=job.store,
        analyses=analyses,
        keys={name: analysis.key() for name, analysis in analyses.items()},
        folders={name: job.tables.folder(analysis.table) for name, analysis in analyses.items()},
        run_id=run_id,
        limits=settings.limits,
        max_in_memory_bytes=settings.ingest.max_blob_bytes,
        staging_dir=job.staging_dir,
    )
    return AnalyzePlan(context, job.tables, settings.analysis.wave_max_recordings, settings.analysis.wave_max_bytes)


def _dry_run(job: Job, names: Iterable[str]) -> dict[str, Any]:
    from lake.analysis.plan import Planner

    plan = make_plan(job, names, "dry-run")
    planner = Planner(job.tables, list(plan.context.analyses.values()))
    backlog = planner.backlog()
    planner.close()
    return {
        "run_id": None,
        "analyses": {
            name: {"done": 0, "skipped": backlog.skipped[name], "failed": 0, "pending": backlog.todo[name]}
            for name in backlog.todo
        },
        "seconds": 0.0,
    }
