"""``lake analyze``: run analyses on what lacks a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import EXIT_RECORDS_FAILED, Invocation, Verb, model_choice, own_analyses

if TYPE_CHECKING:
    from jobs.context import Engines, Job
    from lake.analysis.costs import Group, Load
    from lake.analysis.runner import AnalyzePlan


@click.command(cls=Verb)
@click.argument("names", nargs=-1)
@click.option(
    "--engine",
    type=click.Choice(["auto", "local", "spark"]),
    help="Where it runs; auto is Spark on a cluster, else processes here.",
)
@own_analyses("A Python file with analyses of your own; without NAMES these are run.")
@model_choice
@click.option("--strict", is_flag=True, help="Exit 5 when some recordings failed.")
@click.option("--dry-run", is_flag=True, help="Count what would be analysed.")
@click.pass_obj
def command(
    invocation: Invocation,
    names: tuple[str, ...],
    engine: str | None,
    modules: tuple[str, ...],
    models: tuple[str, ...],
    device: str | None,
    strict: bool,
    dry_run: bool,
) -> int:
    """Run all (or the named) analyses on every recording that lacks their result.

    \b
    lake analyze
    lake analyze speech loudness
    lake analyze --module my_analysis.py
    lake analyze transcript --model transcript=lake:asr/whisper-small@3
    """
    from jobs.context import Engines, open_job
    from jobs.models import with_choice

    job = with_choice(open_job(invocation), models, device)
    if dry_run:
        document = _dry_run(job, names, modules)
    else:
        with Engines(job.settings, engine, "lake analyze") as engines:
            document = analyze_all(job, invocation, names, engines, modules=modules)
    if not invocation.emit(document):
        for name, counts in document["analyses"].items():
            click.echo(_line(name, counts))
    failed = sum(counts["failed"] for counts in document["analyses"].values())
    return EXIT_RECORDS_FAILED if strict and failed else 0


def _line(name: str, counts: Mapping[str, int]) -> str:
    if "pending" in counts:
        return f"{name:16} {counts['pending']:>8,} pending {counts['skipped']:>8,} skipped"
    return f"{name:16} {counts['done']:>8,} done {counts['skipped']:>8,} skipped {counts['failed']:>6,} failed"


def analyze_all(
    job: Job,
    invocation: Invocation,
    names: Iterable[str],
    engines: Engines,
    retry: Iterable[tuple[str, str]] = (),
    modules: Iterable[str] = (),
) -> dict[str, Any]:
    """Run analyses, recorded as a run, and return the verb's document."""
    import time

    from jobs.context import recorded, utc_now
    from jobs.progress import Progress
    from lake.analysis.costs import to_rows
    from lake.analysis.runner import analyze

    plan_for = make_plan(job, names, modules)
    exclusive = [f"analysis {name}" for name in plan_for("").context.analyses]
    started = time.monotonic()
    with (
        Progress("analyze", unit="recordings", quiet=invocation.json) as progress,
        recorded(job, invocation, "analyze", exclusive=exclusive) as run,
    ):
        plan = plan_for(run.run_id)
        report = analyze(
            plan,
            engines.started,
            utc_now,
            lambda r: progress.update(*_sizes(r.loads_done), total=_sizes(r.loads_total), share=r.share_done),
            retry,
        )
        run.engine = engines.said
        run.stage(
            "analyze",
            rows_in=report.results_total,
            rows_out=report.rows,
            rows_failed=report.failed,
            size_bytes=report.bytes,
            seconds=time.monotonic() - started,
            record_seconds=report.record_seconds,
            slowest=report.slowest,
            model_loads=report.model_loads,
            peak_memory_bytes=report.peak_memory_bytes,
            costs=to_rows(report.costs),
        )
    return {
        "run_id": run.run_id,
        "engine": run.engine,
        "analyses": report.analyses,
        "rows": report.rows,
        "bytes": report.bytes,
        "seconds": round(time.monotonic() - started, 3),
    }


def _sizes(loads: Mapping[Group, Load]) -> tuple[int, int]:
    """Recordings and bytes."""
    return sum(load.records for load in loads.values()), sum(load.size_bytes for load in loads.values())


def make_plan(job: Job, names: Iterable[str], modules: Iterable[str] = ()) -> Callable[[str], AnalyzePlan]:
    """The values of a run, by its id, from settings, registry, users' files and the command line."""
    from jobs.models import resolver
    from lake.analysis.models import Node, choose_models
    from lake.analysis.registry import ANALYSES
    from lake.analysis.runner import AnalyzePlan
    from lake.analysis.user_module import chosen, read_module, travelling
    from lake.analysis.worker import AnalysisContext

    names = list(names)
    analyses, files = chosen(ANALYSES, [read_module(path) for path in modules], names)
    analyses = choose_models(
        analyses, job.settings.analysis.models, resolver(job), [*ANALYSES, *files], all_of_them=not names and not files
    )
    settings = job.settings
    context = AnalysisContext(
        store=job.store,
        analyses={name: travelling(each) if name in files else each for name, each in analyses.items()},
        keys={name: analysis.key() for name, analysis in analyses.items()},
        folders={name: job.tables.folder(analysis.table) for name, analysis in analyses.items()},
        run_id="",
        limits=settings.limits,
        max_in_memory_bytes=settings.ingest.max_blob_bytes,
        staging_dir=job.staging_dir,
        modules=files,
        node=Node(str(settings.cache_dir), settings.analysis.device),
    )
    most = settings.analysis
    return lambda run_id: AnalyzePlan(
        replace(context, run_id=run_id),
        tuple(analyses.values()),
        job.tables,
        most.wave_max_recordings,
        most.wave_max_bytes,
    )


def _dry_run(job: Job, names: Iterable[str], modules: Iterable[str] = ()) -> dict[str, Any]:
    from lake.analysis.plan import Planner

    planner = Planner(job.tables, make_plan(job, names, modules)("").analyses)
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
