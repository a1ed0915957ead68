"""Scrubbing: every byte of the store read and compared with its checksums, by the engine, a wave of objects at a time.
The files of the tables come first, for they lead to all else: see ``lake.store.scrub_files``.

The table ``scrubs`` says when each object was last found whole, so a scrub that was killed goes on where it was, and
one that runs every night need only take what was not looked at for long.
"""

from __future__ import annotations

import functools
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import pyarrow.compute as pc

from lake.engine.base import Engine
from lake.errors import NotFound
from lake.model import BlobRef, Row
from lake.schema import QUARANTINE, SCRUBS
from lake.store.about import SUFFIX
from lake.store.blobs import REF_COLUMNS, asking
from lake.store.index import Window
from lake.store.objects import ObjectInfo, ObjectStore
from lake.store.scrub_files import FileCheck, check_files, known_files
from lake.store.verify import Damage, verify_object
from lake.tables import Tables, rows_table

STAGE = "scrub"
TASK_BYTES = 256 * 1024**2
WAVE_TASKS_PER_SLOT = 4
ROWS_AT_ONCE = 50_000

Checked = tuple[ObjectInfo, list[BlobRef]]
"""An object and the rows that lead to it."""


@dataclass
class ScrubReport:
    """What a scrub found; the fixed fields of ``lake store scrub --json``."""

    objects: int = 0
    """Objects read."""
    skipped: int = 0
    """Objects that were found whole not long ago."""
    blobs: int = 0
    bytes: int = 0
    table_files: int = 0
    """Files of the tables and of their logs, counted among the objects too."""
    damaged: int = 0
    missing: int = 0
    """Objects that rows lead to and the store does not have."""
    repaired: int = 0
    quarantined: int = 0
    findings: list[Row] = field(default_factory=list)
    hurt: set[str] = field(default_factory=set)
    """Contents that cannot be read any more."""


@dataclass(frozen=True)
class Scrub:
    """Everything a scrub needs, as values."""

    store: ObjectStore
    tables: Tables
    run_id: str
    now: datetime
    max_age: timedelta
    """Objects found whole within this time are not read again."""
    replica: ObjectStore | None = None
    repair: bool = False


def scrub(
    job: Scrub, engine: Callable[[], Engine], progress: Callable[[ScrubReport], None] = lambda report: None
) -> ScrubReport:
    """Read everything that is due and compare it with what was written."""
    job.tables.create("scrubs", SCRUBS)
    if "crc32c" not in job.tables.dataset("scrubs").schema.names:
        job.tables.add_columns("scrubs", SCRUBS)
    report = ScrubReport()
    _scrub_files(job, report)
    progress(report)
    fresh = _found_whole(job)
    due = _due(job, fresh, report)
    while wave := _wave(due, engine):
        hurt = _run_wave(job, engine(), wave, report)
        report.hurt |= {damage.sha256 for damage in hurt if damage.sha256}
        progress(report)
    return report


def _scrub_files(job: Scrub, report: ScrubReport) -> None:
    """Compare the tables' files with what they were, and note those that are read for the first time."""
    rows: list[Row] = []
    for check in check_files(job.store, known_files(job.tables), job.now):
        report.objects += 1
        report.table_files += 1
        report.bytes += check.entry.size_bytes
        damages = 0
        if check.damage is not None:
            report.damaged += 1
            report.findings.append(vars(check.damage))
            repaired = job.repair and job.replica is not None and _file_restored(job.store, job.replica, check)
            report.repaired += repaired
            damages = int(not repaired)
        if damages or check.known is None:
            key, size_bytes = check.entry.key, check.entry.size_bytes
            facts = {"key": key, "size_bytes": size_bytes, "damages": damages, "crc32c": check.crc32c}
            rows.append({**facts, "at_utc": job.now, "run_id": job.run_id})
    job.tables.append("scrubs", rows_table(rows, SCRUBS))


def _file_restored(store: ObjectStore, replica: ObjectStore, check: FileCheck) -> bool:
    """Copy a table's file from a replica that has it as it was first read."""
    try:
        entry = replica.stat(check.entry.key)
        if (entry.size_bytes, Window(replica, entry).checksums(0, entry.size_bytes)[0]) != check.known:
            return False
        _copy(store, replica, entry.key)
        return True
    except NotFound:
        return False


def _found_whole(job: Scrub) -> set[tuple[str, int]]:
    """Key and size of objects that were whole when last looked at, not long ago."""
    last: dict[str, Row] = {}
    wanted = pc.field("at_utc") >= job.now - job.max_age
    for row in job.tables.dataset("scrubs").to_table(filter=wanted).to_pylist():
        if row["key"] not in last or row["at_utc"] >= last[row["key"]]["at_utc"]:
            last[row["key"]] = row
    return {(row["key"], row["size_bytes"]) for row in last.values() if not row["damages"]}


def _due(job: Scrub, fresh: set[tuple[str, int]], report: ScrubReport) -> Iterator[Checked]:
    """Objects with their rows, in order of key; first those that rows lead to, then what nothing leads to."""
    stored = {
        entry.key: entry
        for prefix in ("packs", "blobs")
        for entry in job.store.list(prefix)
        if not entry.key.endswith(SUFFIX)
    }
    for key, rows in groupby(_rows(job.tables), key=lambda ref: ref.pack_uri):
        refs = list(rows)
        entry = stored.pop(key, None)
        if entry is None:
            report.missing += 1
            entry = ObjectInfo(key, 0)
        elif (entry.key, entry.size_bytes) in fresh:
            report.skipped += 1
            continue
        yield entry, refs
    for key in sorted(stored):
        if (key, stored[key].size_bytes) in fresh:
            report.skipped += 1
        else:
            yield stored[key], []


def _rows(tables: Tables) -> Iterator[BlobRef]:
    """All rows of ``blobs``, sorted by place; DuckDB sorts on disk what memory does not hold."""
    with asking(blobs=tables.dataset("blobs")) as db:
        columns = ", ".join(f'"{name}"' for name in REF_COLUMNS)
        rows = db.execute(f'SELECT {columns} FROM blobs ORDER BY pack_uri, "offset", sha256')  # noqa: S608
        while found := rows.fetchmany(ROWS_AT_ONCE):
            for row in found:
                yield BlobRef(*row)


def _wave(due: Iterator[Checked], engine: Callable[[], Engine]) -> list[list[Checked]]:
    """Tasks of about ``TASK_BYTES``, some for each slot."""
    tasks: list[list[Checked]] = []
    filled = TASK_BYTES
    for checked in due:
        if filled >= TASK_BYTES:
            if tasks and len(tasks) >= WAVE_TASKS_PER_SLOT * engine().slots:
                tasks[-1].append(checked)
                return tasks
            tasks.append([])
            filled = 0
        tasks[-1].append(checked)
        filled += checked[0].size_bytes
    return tasks


def verify_task(store: ObjectStore, payload: bytes) -> Iterator[bytes]:
    """Verify the objects of one task. Runs on the executor."""
    items: list[Checked] = pickle.loads(payload)  # noqa: S301  (made by the driver of this run)
    yield pickle.dumps([(entry, len(rows), verify_object(store, entry, rows)) for entry, rows in items])


def _run_wave(job: Scrub, engine: Engine, wave: Sequence[list[Checked]], report: ScrubReport) -> list[Damage]:
    checks: list[Row] = []
    hurt: list[Damage] = []
    for output in engine.run([pickle.dumps(task) for task in wave], functools.partial(verify_task, job.store)):
        for entry, rows, damages in pickle.loads(output):  # noqa: S301  (made by this run's own executors)
            report.objects += 1
            report.blobs += rows
            report.bytes += entry.size_bytes
            report.damaged += len(damages)
            report.findings += [vars(damage) for damage in damages]
            if damages and job.repair and job.replica is not None and _restored(job.store, job.replica, entry.key):
                report.repaired += 1
                damages = []
            hurt += damages
            checks.append(
                {
                    "key": entry.key,
                    "size_bytes": entry.size_bytes,
                    "damages": len(damages),
                    "at_utc": job.now,
                    "run_id": job.run_id,
                }
            )
    if job.repair:
        whole = {check["key"] for check in checks if not check["damages"]}
        report.quarantined += _quarantine(job, hurt, whole)
    job.tables.append("scrubs", rows_table(checks, SCRUBS))
    return hurt


def _restored(store: ObjectStore, replica: ObjectStore, key: str) -> bool:
    """Copy an object, and its description, from a replica where that is whole."""
    keys = [key] if key.startswith("packs/") else [key + SUFFIX, key]
    try:
        if verify_object(replica, replica.stat(key), []):
            return False
        for each in keys:
            _copy(store, replica, each)
        return not verify_object(store, store.stat(key), [])
    except NotFound:
        return False


def _copy(store: ObjectStore, replica: ObjectStore, key: str) -> None:
    with tempfile.NamedTemporaryFile(prefix="lake-") as spooled:
        size = replica.stat(key).size_bytes
        for at in range(0, size, 16 * 1024**2):
            spooled.write(replica.get_range(key, at, min(16 * 1024**2, size - at)))
        spooled.flush()
        store.put(key, Path(spooled.name))


def _quarantine(job: Scrub, hurt: Iterable[Damage], whole: set[str]) -> int:
    """A row for each blob that cannot be read any more, unless it has one, and one that says it is mended for each that
    can be read again; returns how many are new. ``whole`` are the keys of objects that were found so, or restored.
    """
    failed = {damage.sha256: damage for damage in hurt if damage.sha256}
    known = _open_rows(job.tables)
    rows = [_row(job, sha256, damage.key, damage.said, 1) for sha256, damage in failed.items() if sha256 not in known]
    new = len(rows)
    for sha256, (key, attempt) in known.items():
        if key in whole and sha256 not in failed:
            mended = _row(job, sha256, key, "read whole again by a later scrub", attempt + 1)
            rows.append({**mended, "error_class": None})
    job.tables.append("quarantine", rows_table(rows, QUARANTINE))
    return new


def _open_rows(tables: Tables) -> dict[str, tuple[str, int]]:
    """Object and attempt of each blob that earlier scrubs quarantined and none mended."""
    last: dict[str, Row] = {}
    for row in tables.dataset("quarantine").to_table(filter=pc.field("stage") == STAGE).to_pylist():
        if row["sha256"] not in last or row["attempt"] > last[row["sha256"]]["attempt"]:
            last[row["sha256"]] = row
    return {sha256: (row["path"], row["attempt"]) for sha256, row in last.items() if row["error_class"]}


def _row(job: Scrub, sha256: str, key: str, said: str, attempt: int) -> Row:
    return {
        "sha256": sha256,
        "path": key,
        "stage": STAGE,
        "error_class": "IntegrityError",
        "message": said,
        "attempt": attempt,
        "run_id": job.run_id,
        "at_utc": job.now,
    }
