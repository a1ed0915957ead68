"""``lake ingest``: land what is new in a source."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from jobs.cli import EXIT_RECORDS_FAILED, Invocation, Verb

if TYPE_CHECKING:
    from connectors.base import Connector
    from jobs.context import Engines, Job
    from lake.ingest.run import IngestPlan, IngestReport


@click.command(cls=Verb)
@click.argument("source", required=False)
@click.option(
    "--device", metavar="ID", help="Device that delivered all of it (conf/devices); its own source is the default."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "local", "spark"]),
    help="Where it runs; auto is Spark on a cluster, else processes here.",
)
@click.option("--follow-links", is_flag=True, help="Follow symbolic links of a folder.")
@click.option("--strict", is_flag=True, help="Exit 5 when some recordings were quarantined.")
@click.option("--dry-run", is_flag=True, help="List what is new and land nothing.")
@click.pass_obj
def command(
    invocation: Invocation,
    source: str | None,
    device: str | None,
    engine: str | None,
    follow_links: bool,
    strict: bool,
    dry_run: bool,
) -> int:
    """Land what is new in a folder, s3://bucket/prefix or a configured device.

    \b
    lake ingest /data/cameras
    lake ingest --device cam-01
    """
    from jobs.context import Engines, open_job

    job = open_job(invocation)
    plan = make_plan(job, source, device, follow_links=follow_links)
    if dry_run:
        document = _dry_run(plan)
    else:
        with Engines(job.settings, engine, "lake ingest") as engines:
            document = ingest_source(job, invocation, plan, engines)
    if not invocation.emit(document):
        _print(document)
    return EXIT_RECORDS_FAILED if strict and document["quarantined"] else 0


def ingest_source(job: Job, invocation: Invocation, plan: IngestPlan, engines: Engines) -> dict[str, Any]:
    """Ingest one source, recorded as a run, and return the verb's document."""
    import time

    from jobs.context import recorded, utc_now
    from jobs.progress import Progress
    from lake.ingest.run import ingest

    started = time.monotonic()
    with (
        Progress("ingest", quiet=invocation.json) as progress,
        recorded(job, invocation, "ingest", exclusive=[f"ingest of {plan.context.connector.source}"]) as run,
    ):
        report = ingest(
            plan,
            engines.started,
            run.run_id,
            utc_now,
            lambda r: progress.update(r.arrivals + r.landing, r.bytes + r.landing_bytes),
        )
        run.engine = engines.said
        run.stage(
            "ingest",
            rows_in=report.arrivals,
            rows_out=report.landed + report.duplicates,
            rows_failed=report.quarantined,
            size_bytes=report.bytes,
            seconds=time.monotonic() - started,
            record_seconds=report.record_seconds,
            slowest=report.slowest,
            peak_memory_bytes=report.peak_memory_bytes,
        )
    return _document(run.run_id, plan, report, run.engine, time.monotonic() - started)


def make_plan(job: Job, source: str | None, device: str | None, *, follow_links: bool = False) -> IngestPlan:
    """The run's values from settings, devices and the command line."""
    from connectors import connect
    from lake.errors import UsageError
    from lake.ingest.devices import load_devices, named_device

    devices = load_devices(job.settings.conf_dir / "devices")
    source = source or (named_device(devices, device).source if device else None)
    if source is None:
        raise UsageError("name a SOURCE, or a --device that has a source in its file")
    return plan_for(job, connect(source, **source_options(job, source, follow_links=follow_links)), device)


def source_options(job: Job, source: str, *, follow_links: bool = False) -> dict[str, Any]:
    """What a connector is told about a source besides its name."""
    if source.startswith("s3://"):
        return {"s3": job.settings.s3_options()}
    return {"exclude": () if job.settings.is_s3 else (job.settings.root,), "follow_links": follow_links}


def plan_for(job: Job, connector: Connector, device: str | None) -> IngestPlan:
    """The run's values for one connector."""
    from lake.ingest.devices import load_devices, named_device
    from lake.ingest.run import IngestPlan
    from lake.ingest.worker import IngestContext

    settings = job.settings
    devices = load_devices(settings.conf_dir / "devices")
    if device is not None:
        named_device(devices, device)
    context = IngestContext(
        connector,
        job.store,
        devices,
        settings.limits,
        settings.ingest.max_blob_bytes,
        settings.ingest.pack_target_bytes,
        job.staging_dir,
    )
    return IngestPlan(
        context,
        job.tables,
        device,
        settings.ingest.wave_max_arrivals,
        settings.ingest.wave_max_bytes,
        settings.ingest.pack_target_bytes,
    )


def _dry_run(plan: IngestPlan) -> dict[str, Any]:
    from lake.ingest.discover import new_arrivals
    from lake.ingest.run import IngestReport

    report = IngestReport()
    for arrival in new_arrivals(plan.context.connector, plan.tables, report.skipped.append, lambda seen: None):
        report.pending += 1
        report.arrivals += 1
        report.bytes += arrival.size_bytes
    return _document(None, plan, report, "none", 0.0)


def _document(
    run_id: str | None, plan: IngestPlan, report: IngestReport, engine: str, seconds: float
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "source": plan.context.connector.source,
        "engine": engine,
        "seen": report.seen,
        "arrivals": report.arrivals,
        "landed": report.landed,
        "duplicates": report.duplicates,
        "quarantined": report.quarantined,
        "erased": report.erased,
        "pending": report.pending,
        "bytes": report.bytes,
        "seconds": round(seconds, 3),
        "skipped": report.skipped_count,
        "skipped_entries": [{"key": s.key, "reason": s.reason} for s in report.skipped],
    }


def _erased(count: int) -> str:
    return f", {count:,} not taken in again, for they were erased" if count else ""


def _print(document: dict[str, Any]) -> None:
    from jobs.progress import human_bytes

    click.echo(
        f"{document['arrivals']:,} new of {document['seen']:,} seen in {document['source']}: "
        f"{document['landed']:,} landed, {document['duplicates']:,} duplicates, "
        f"{document['quarantined']:,} quarantined, {document['pending']:,} pending"
        f"{_erased(document['erased'])}; "
        f"{human_bytes(document['bytes'])} in {document['seconds']:.1f} s ({document['engine']})"
    )
    for entry in document["skipped_entries"]:
        print(f"skipped {entry['key']!r}: {entry['reason']}", file=sys.stderr)
    if document["quarantined"]:
        click.echo("`lake quarantine list` says why", err=True)
