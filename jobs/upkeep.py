"""Work on the store and the tables, recorded as runs: what ``lake store`` and ``lake maintain`` call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jobs.cli import Invocation
from lake.errors import UsageError

if TYPE_CHECKING:
    from jobs.context import Engines, Job
    from lake.store.compact import CompactContext

COUNTED_AT_ONCE = 10_000
Told = Callable[[int, int], None]
"""Told objects and bytes done so far."""


def compact_context(job: Job, recompress: bool = False) -> CompactContext:
    """What the tasks that move blobs share."""
    from lake.store.compact import CompactContext

    ingest = job.settings.ingest
    return CompactContext(job.store, ingest.pack_target_bytes, ingest.max_blob_bytes, job.staging_dir, recompress)


def compact_store(
    job: Job, invocation: Invocation, engines: Engines, *, recompress: bool | None = None, dry_run: bool = False
) -> dict[str, Any]:
    """Compact, recorded as a run unless nothing is to be written, and return the verb's document.

    ``recompress`` is None where the settings say whether.
    """
    from lake.store.compact import compact as compact_packs

    context = compact_context(job, job.settings.store.recompress if recompress is None else recompress)

    def work(told: Told, run_id: str) -> Any:
        return compact_packs(
            context, job.tables, engines.started, dry_run=dry_run, progress=lambda r: told(r.blobs_moved, r.bytes_moved)
        )

    return recorded_work(
        job,
        invocation,
        "compact",
        work,
        lambda r: (r.blobs_moved, r.blobs_moved, r.damaged, r.bytes_moved),
        dry_run,
        exclusive=["compaction"],
        engines=engines,
    )


def collect_garbage(job: Job, invocation: Invocation, hold_hours: float, *, dry_run: bool = False) -> dict[str, Any]:
    """Collect, recorded as a run unless nothing is to be deleted, and return the verb's document."""
    from datetime import timedelta

    from jobs.context import utc_now
    from lake.store.gc import collect

    at = utc_now()

    def work(told: Told, run_id: str) -> Any:
        hold = timedelta(hours=hold_hours)
        return collect(
            job.store, job.tables, at, hold, dry_run=dry_run, progress=lambda r: told(r.objects, r.deleted_bytes)
        )

    return recorded_work(
        job, invocation, "gc", work, lambda r: (r.objects, r.deleted, 0, r.deleted_bytes), dry_run, leased=False
    )


def scrub_store(
    job: Job,
    invocation: Invocation,
    engines: Engines,
    max_age_days: float,
    *,
    repair: bool = False,
    replica: str | None = None,
) -> dict[str, Any]:
    """Scrub, recorded as a run, and return the verb's document."""
    from datetime import timedelta

    from jobs.context import utc_now
    from lake.catalog.affected import affected_by
    from lake.catalog.create import require_lake
    from lake.store.objects import open_store
    from lake.store.scrub import Scrub
    from lake.store.scrub import scrub as scrub_objects

    if replica is not None and not repair:
        raise UsageError("--replica is where --repair restores from: say --repair too")
    other = open_store(replica, job.settings.s3) if replica else None
    if other is not None:
        require_lake(other)

    def work(told: Told, run_id: str) -> Any:
        scrub = Scrub(job.store, job.tables, run_id, utc_now(), timedelta(days=max_age_days), other, repair)
        return scrub_objects(scrub, engines.started, lambda r: told(r.objects, r.bytes))

    document = recorded_work(
        job,
        invocation,
        "scrub",
        work,
        lambda r: (r.objects, r.blobs, r.damaged, r.bytes),
        False,
        exclusive=["scrub"],
        engines=engines,
    )
    hurt = document.pop("hurt")
    assets, libraries = affected_by(job.tables, hurt) if hurt else ([], [])
    return {**document, "assets": assets, "libraries": libraries}


def rebuild_index(job: Job, invocation: Invocation, engines: Engines, *, dry_run: bool = False) -> dict[str, Any]:
    """Rebuild index and assets, recorded as a run unless nothing is to be written, and return the verb's document."""
    from jobs.context import utc_now
    from jobs.ingest import plan_for
    from lake.ingest.commit import RunFacts
    from lake.ingest.rebuild import missing_assets, rebuild_assets
    from lake.store.rebuild import rebuild as rebuild_blobs

    def work(told: Told, run_id: str) -> Any:
        report = rebuild_blobs(job.store, job.tables, dry_run=dry_run, progress=lambda r: told(r.blobs, r.bytes))
        if dry_run:
            report.assets = sum(len(rows) for rows in missing_assets(job.tables, COUNTED_AT_ONCE))
        else:
            facts = RunFacts(run_id, utc_now())
            report.assets = rebuild_assets(
                job.store, job.tables, lambda connector: plan_for(job, connector, None), engines.started, facts
            )
        return report

    return recorded_work(
        job,
        invocation,
        "rebuild",
        work,
        lambda r: (r.blobs, r.added, r.damaged, r.bytes),
        dry_run,
        exclusive=["rebuild"],
        engines=engines,
    )


def maintain(
    job: Job, invocation: Invocation, engines: Engines, hold_hours: int, *, dry_run: bool = False
) -> dict[str, Any]:
    """Packs first, so that the tables are merged once with all that changed; then what nothing leads to any more."""
    import math
    import time
    from datetime import timedelta

    from jobs.context import utc_now
    from lake.catalog.maintain import maintain_tables
    from lake.store.lease import horizon
    from lake.store.staging import clear_staging

    started = time.monotonic()
    compacted = compact_store(job, invocation, engines, dry_run=dry_run)

    def work(told: Told, run_id: str) -> Any:
        # Files of the tables too are left to those at work: executors write some before the driver commits them.
        at = utc_now()
        held = math.ceil((at - horizon(job.store, at, timedelta(hours=hold_hours))) / timedelta(hours=1))
        return maintain_tables(job.tables, held, dry_run=dry_run, progress=lambda r: told(len(r.tables), 0))

    def counts(report: Any) -> Counts:
        before = sum(table.files_before for table in report.tables.values())
        after = sum(table.files_after for table in report.tables.values())
        return before, after, 0, sum(table.bytes_after for table in report.tables.values())

    merged = recorded_work(job, invocation, "tables", work, counts, dry_run, exclusive=["upkeep of the tables"])
    collected = collect_garbage(job, invocation, hold_hours, dry_run=dry_run)
    if not dry_run:
        clear_staging(job.store, horizon(job.store, utc_now(), timedelta(hours=hold_hours)).timestamp())
    return {
        "tables": {name: vars(table) for name, table in merged["tables"].items()},
        "compact": compacted,
        "gc": collected,
        "seconds": round(time.monotonic() - started, 3),
    }


Counts = tuple[int, int, int, int]
"""Rows in, rows out, rows failed and bytes of a stage."""


def recorded_work(
    job: Job,
    invocation: Invocation,
    verb: str,
    work: Callable[[Told, str], Any],
    counts: Callable[[Any], Counts],
    dry_run: bool,
    *,
    leased: bool = True,
    exclusive: Sequence[str] = (),
    engines: Engines | None = None,
) -> dict[str, Any]:
    """Run a verb of the store with progress and, unless it only looks, a record; the document is its report's fields.

    ``work`` is given a function that tells progress in objects and bytes, and the run's id.
    """
    import contextlib
    import time

    from jobs.context import recorded
    from jobs.progress import Progress

    started = time.monotonic()
    with (
        Progress(verb, quiet=invocation.json) as progress,
        contextlib.nullcontext()
        if dry_run
        else recorded(job, invocation, f"store {verb}", exclusive=exclusive, leased=leased) as run,
    ):
        report = work(lambda done, size_bytes: progress.update(done, size_bytes), run.run_id if run else "")
        if run:
            run.engine = engines.said if engines else "none"
            rows_in, rows_out, rows_failed, size_bytes = counts(report)
            run.stage(
                verb,
                rows_in=rows_in,
                rows_out=rows_out,
                rows_failed=rows_failed,
                size_bytes=size_bytes,
                seconds=time.monotonic() - started,
            )
    seconds = round(time.monotonic() - started, 3)
    return {"run_id": run.run_id if run else None, **vars(report), "seconds": seconds}
