"""Compaction: live blobs of small or half-dead packs move into full ones. Executors move bytes, the driver rows.

The order keeps every reader right: new packs are uploaded and verified, then ``blobs`` leads to them in one commit a
wave, and old packs stay until ``gc`` finds that nobody can be led to them any more. A run killed anywhere leaves
orphans only. A row moves only if it still says what it said when the move began, so two compactions, or one and an
erasure, do not undo each other.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.engine.base import Engine
from lake.errors import IntegrityError
from lake.model import BlobRef
from lake.rewrite import rewrite, update_rows
from lake.schema import FILE
from lake.store.blobs import REF_COLUMNS, asking
from lake.store.objects import ObjectStore
from lake.store.pack_use import PackUse, groups_of, pack_uses
from lake.store.reader import scan
from lake.store.recompress import dictionary_for, encode_large, encoder, large_untried
from lake.store.staging import spool
from lake.store.writer import PackWriter
from lake.tables import Tables

LARGE_AT_ONCE_PER_SLOT = 16
"""Large blobs compressed between two commits."""


@dataclass(frozen=True)
class CompactContext:
    """What the tasks of a run share; pickles."""

    store: ObjectStore
    target_bytes: int
    max_blob_bytes: int
    staging_dir: str | None
    recompress: bool = False
    """Compress what was not tried yet; what is compressed stays so anyway."""


@dataclass
class CompactReport:
    """What a compaction did; the fixed fields of ``lake store compact --json``."""

    packs: int = 0
    """Packs there were."""
    rewritten: int = 0
    written: int = 0
    blobs_moved: int = 0
    bytes_moved: int = 0
    bytes_saved: int = 0
    """By compression, when `gc` has taken the old bytes."""
    twins: int = 0
    """Rows dropped of contents that two runs stored at once: the first stays."""
    damaged: int = 0
    """Blobs that are not what was written: they stay where they are."""
    findings: list[str] = field(default_factory=list)


Move = tuple[str, BlobRef]
"""The pack a blob lay in, and where it lies now."""


def compact(
    context: CompactContext,
    tables: Tables,
    engine: Callable[[], Engine],
    *,
    dry_run: bool = False,
    progress: Callable[[CompactReport], None] = lambda report: None,
) -> CompactReport:
    """Rewrite the packs that are small or have many dead bytes, a wave of tasks at a time."""
    twins = set() if dry_run else twin_rows(tables)
    if twins:
        drop_rows(tables, twins)
    uses = pack_uses(context.store, tables, recompress=context.recompress)
    groups = groups_of(uses, context.target_bytes)
    report = CompactReport(packs=len(uses), twins=len(twins))
    if dry_run:
        report.rewritten = sum(len(group) for group in groups)
        report.bytes_moved = sum(use.live_bytes for group in groups for use in group)
        report.blobs_moved = sum(use.blobs for group in groups for use in group)
        large = large_untried(tables) if context.recompress else []
        report.bytes_moved += sum(ref.length for ref, _ in large)
        report.blobs_moved += len(large)
        return report
    move_packs(context, tables, engine, groups, report, progress)
    if context.recompress:
        _recompress_large(context, tables, engine, report, progress)
    refresh_files(tables)
    return report


def move_packs(
    context: CompactContext,
    tables: Tables,
    engine: Callable[[], Engine],
    groups: Sequence[Sequence[PackUse]],
    report: CompactReport,
    progress: Callable[[CompactReport], None] = lambda report: None,
) -> None:
    """Move the live blobs of each group of packs into new ones, a wave of tasks at a time. The old ones stay."""
    at_once = 2 * engine().slots if groups else 1
    for start in range(0, len(groups), at_once):
        _run_wave(context, tables, engine(), groups[start : start + at_once], report)
        progress(report)


def _recompress_large(
    context: CompactContext,
    tables: Tables,
    engine: Callable[[], Engine],
    report: CompactReport,
    progress: Callable[[CompactReport], None],
) -> None:
    """Compress large blobs, each in a task of its own; those that it does not pay for are marked as tried."""
    items = large_untried(tables)
    at_once = LARGE_AT_ONCE_PER_SLOT * engine().slots if items else 1
    work = functools.partial(encode_large, context.store, context.staging_dir)
    for start in range(0, len(items), at_once):
        tasks = [pickle.dumps([item]) for item in items[start : start + at_once]]
        _commit(tables, engine().run(tasks, work), report)
        progress(report)


def twin_rows(tables: Tables) -> set[tuple[str, str]]:
    """Content and place of every row but the first of its content."""
    with asking(blobs=tables.dataset("blobs")) as db:
        rows = db.execute(
            "SELECT sha256, pack_uri FROM (SELECT sha256, pack_uri, row_number() OVER (PARTITION BY sha256"
            " ORDER BY first_seen_at_utc, arrival_id, pack_uri) AS place FROM blobs) WHERE place > 1"
        ).fetchall()
    return set(rows)


def drop_rows(tables: Tables, rows: set[tuple[str, str]]) -> int:
    """Delete the rows of ``blobs`` with these contents at these places."""

    def change(old: pa.Table) -> tuple[pa.Table, int]:
        keys = zip(old.column("sha256").to_pylist(), old.column("pack_uri").to_pylist(), strict=True)
        kept = old.filter(pa.array([key not in rows for key in keys], pa.bool_()))
        return kept, old.num_rows - kept.num_rows

    return rewrite(tables, "blobs", "sha256", sorted({sha256 for sha256, _ in rows}), change)


def _run_wave(
    context: CompactContext, tables: Tables, engine: Engine, groups: Sequence[Sequence[PackUse]], report: CompactReport
) -> None:
    by_pack = _rows_of(tables, [use.key for group in groups for use in group])
    tasks = [pickle.dumps([row for use in group for row in by_pack.get(use.key, [])]) for group in groups]
    report.written += _commit(tables, engine.run(tasks, functools.partial(move_blobs, context)), report)
    report.rewritten += sum(len(group) for group in groups)


def _commit(tables: Tables, outputs: Iterable[bytes], report: CompactReport) -> int:
    """Have ``blobs`` lead to where the tasks of a wave put the contents; returns how many objects that is."""
    moves: list[Move] = []
    for output in outputs:
        moved, findings, saved_bytes = pickle.loads(output)  # noqa: S301  (made by this run's own executors)
        moves += moved
        report.bytes_saved += saved_bytes
        report.damaged += len(findings)
        report.findings += findings
    report.blobs_moved += update_rows(tables, "blobs", moved_rows(moves), on={"sha256": "sha256", "pack_uri": "was"})
    report.bytes_moved += sum(ref.length for _, ref in moves)
    return len({ref.pack_uri for _, ref in moves})


def _rows_of(tables: Tables, packs: list[str]) -> dict[str, list[tuple[BlobRef, str | None]]]:
    wanted = pc.field("pack_uri").isin(pa.array(packs, pa.string()))
    rows: dict[str, list[tuple[BlobRef, str | None]]] = {}
    seen: set[tuple[str, str]] = set()
    for row in tables.dataset("blobs").to_table(columns=[*REF_COLUMNS, "device_id"], filter=wanted).to_pylist():
        device_id = row.pop("device_id")
        if (row["sha256"], row["pack_uri"]) not in seen:
            seen.add((row["sha256"], row["pack_uri"]))
            rows.setdefault(row["pack_uri"], []).append((BlobRef(**row), device_id))
    return rows


def move_blobs(context: CompactContext, payload: bytes) -> Iterator[bytes]:
    """Copy blobs into new packs, verified as they are read. Runs on the executor, once a task."""
    items: list[tuple[BlobRef, str | None]] = pickle.loads(payload)  # noqa: S301  (made by the driver of this run)
    devices = {(ref.sha256, ref.pack_uri): device_id for ref, device_id in items}
    moves: list[Move] = []
    findings: list[str] = []
    saved_bytes = 0
    dictionary = dictionary_for(context.store, [ref for ref, _ in items], context.recompress)
    with spool(context.staging_dir) as scratch:
        writer = PackWriter(
            context.store,
            scratch,
            # What a dictionary was trained on lies in its pack, so there is one pack: see `dictionary_for`.
            target_bytes=context.target_bytes if dictionary is None else sys.maxsize,
            max_blob_bytes=context.max_blob_bytes,
            dictionary=dictionary,
        )
        done: dict[str, BlobRef] = {}
        for ref, data in scan(context.store, [ref for ref, _ in items]):
            if isinstance(data, IntegrityError):
                findings.append(str(data))
                continue
            if ref.sha256 not in done:
                device_id = devices[ref.sha256, ref.pack_uri]
                encode = encoder(ref.codec, context.recompress)
                done[ref.sha256] = writer.add(ref.sha256, data, ref.content_type, device_id, encode)
            saved_bytes += ref.length - done[ref.sha256].length
            moves.append((ref.pack_uri, done[ref.sha256]))
        writer.close()
    yield pickle.dumps((moves, findings, saved_bytes))


_MOVED = pa.schema(
    [
        ("sha256", pa.string()),
        ("was", pa.string()),
        ("pack_uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("codec", pa.string()),
        ("crc32c", pa.int64()),
    ]
)


def moved_rows(moves: Sequence[Move]) -> pa.Table:
    """Rows that ``update_rows`` puts in the place of those of the blobs that moved."""
    columns: dict[str, list[Any]] = {
        name: [getattr(ref, name) for _, ref in moves] for name in _MOVED.names if name != "was"
    }
    return pa.table({**columns, "was": [was for was, _ in moves]}, schema=_MOVED)


def refresh_files(tables: Tables) -> int:
    """Have the FILE references of ``assets`` say where the contents lie now, and return how many changed.

    Readers go by the checksum and never need this; it serves those who read the references with other tools.
    """
    with asking(assets=tables.dataset("assets"), blobs=tables.dataset("blobs")) as db:
        stale = db.sql(
            'WITH places AS (SELECT sha256, "offset" AS place, pack_uri ||'
            " CASE WHEN codec IN ('raw', 'stored') THEN '' ELSE '#' || codec END AS uri FROM blobs), "
            "now AS (SELECT sha256, min(p.uri) AS uri, min_by(p.place, p.uri) AS place FROM places p GROUP BY sha256) "
            "SELECT DISTINCT a.sha256, now.uri, now.place, a.file['size'] AS size,"
            " a.file.content_type AS content_type, a.file.checksum AS checksum FROM assets a JOIN now USING (sha256)"
            " WHERE NOT EXISTS (SELECT 1 FROM places c WHERE c.sha256 = a.sha256 AND c.uri = a.file.uri"
            ' AND c.place = a.file."offset")'
        ).to_arrow_table()
    if not stale.num_rows:
        return 0
    names = {"uri": "uri", "offset": "place", "size": "size", "content_type": "content_type", "checksum": "checksum"}
    arrays = [
        stale.column(names[each.name]).combine_chunks().cast(each.type)
        if each.name in names
        else pa.nulls(stale.num_rows, each.type)
        for each in FILE
    ]
    file = pa.StructArray.from_arrays(arrays, fields=list(FILE))
    rows = pa.table({"sha256": stale.column("sha256").cast(pa.string()), "file": file})
    return update_rows(tables, "assets", rows, on={"sha256": "sha256"})
