"""Compaction: live blobs of small or half-dead packs move into full ones. Executors move bytes, the driver rows.

The order keeps every reader right: new packs are uploaded and verified, then ``blobs`` leads to them in one commit a
wave, and old packs stay until ``gc`` finds that nobody can be led to them any more. A run killed anywhere leaves
orphans only. A row moves only if it still says what it said when the move began, so two compactions, or one and an
erasure, do not undo each other.
"""

from __future__ import annotations

import functools
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
from lake.store.reader import scan
from lake.store.writer import PackWriter
from lake.tables import Tables

DEAD_SHARE = 0.25
"""A pack with a larger share of dead bytes is rewritten."""
SMALL_SHARE = 0.5
"""A pack smaller than this share of the target is merged with others."""
FRAMING_BYTES = 200
"""What a blob costs in a pack at most, beside its payload."""


@dataclass(frozen=True)
class PackUse:
    """What ``blobs`` names of one pack."""

    key: str
    size_bytes: int
    blobs: int
    live_bytes: int
    order: tuple[str, str]
    """Day and device, so that packs are merged with those of their time and place."""

    @property
    def dead_bytes(self) -> int:
        return max(0, self.size_bytes - self.live_bytes - self.blobs * FRAMING_BYTES)


@dataclass(frozen=True)
class CompactContext:
    """What the tasks of a run share; pickles."""

    store: ObjectStore
    target_bytes: int
    max_blob_bytes: int
    staging_dir: str | None


@dataclass
class CompactReport:
    """What a compaction did; the fixed fields of ``lake store compact --json``."""

    packs: int = 0
    """Packs there were."""
    rewritten: int = 0
    written: int = 0
    blobs_moved: int = 0
    bytes_moved: int = 0
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
    uses = pack_uses(context.store, tables)
    groups = groups_of(uses, context.target_bytes)
    report = CompactReport(packs=len(uses), twins=len(twins))
    if dry_run:
        report.rewritten = sum(len(group) for group in groups)
        report.bytes_moved = sum(use.live_bytes for group in groups for use in group)
        report.blobs_moved = sum(use.blobs for group in groups for use in group)
        return report
    move_packs(context, tables, engine, groups, report, progress)
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
    refresh_files(tables)


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


def pack_uses(store: ObjectStore, tables: Tables) -> list[PackUse]:
    """Every pack that ``blobs`` names and the store has."""
    sizes = {entry.key: entry.size_bytes for entry in store.list("packs")}
    with asking(blobs=tables.dataset("blobs")) as db:
        rows = db.execute(
            "SELECT pack_uri, count(*), sum(length), coalesce(min(device_id), '') FROM (SELECT DISTINCT pack_uri,"
            " \"offset\", length, device_id FROM blobs WHERE pack_uri LIKE 'packs/%') GROUP BY 1 ORDER BY 1"
        ).fetchall()
    return [
        PackUse(key, sizes[key], blobs, int(live), (key.rsplit("/", 1)[0], device))
        for key, blobs, live, device in rows
        if key in sizes
    ]


def groups_of(uses: Sequence[PackUse], target_bytes: int) -> list[list[PackUse]]:
    """Packs to be rewritten together, each group about one full pack. Pure.

    A small pack alone is left as it is: rewriting it would change nothing.
    """
    dead = [use for use in uses if use.dead_bytes > DEAD_SHARE * use.size_bytes]
    chosen = {use.key for use in dead}
    small = [use for use in uses if use.key not in chosen and use.size_bytes < SMALL_SHARE * target_bytes]
    groups = filled([*dead, *small], target_bytes)
    return [group for group in groups if len(group) > 1 or group[0].key in chosen]


def filled(uses: Sequence[PackUse], target_bytes: int) -> list[list[PackUse]]:
    """Packs in groups that each fill about one pack, those of one day and device together. Pure."""
    groups: list[list[PackUse]] = []
    size_bytes = 0
    for use in sorted(uses, key=lambda each: (*each.order, each.key)):
        if not groups or size_bytes + use.live_bytes > target_bytes:
            groups.append([])
            size_bytes = 0
        groups[-1].append(use)
        size_bytes += use.live_bytes
    return groups


def _run_wave(
    context: CompactContext, tables: Tables, engine: Engine, groups: Sequence[Sequence[PackUse]], report: CompactReport
) -> None:
    by_pack = _rows_of(tables, [use.key for group in groups for use in group])
    tasks = [pickle.dumps([row for use in group for row in by_pack.get(use.key, [])]) for group in groups]
    moves: list[Move] = []
    for output in engine.run(tasks, functools.partial(move_blobs, context)):
        moved, findings = pickle.loads(output)  # noqa: S301  (made by this run's own executors)
        moves += moved
        report.damaged += len(findings)
        report.findings += findings
    report.rewritten += sum(len(group) for group in groups)
    report.written += len({ref.pack_uri for _, ref in moves})
    report.blobs_moved += update_rows(tables, "blobs", _moved_rows(moves), on={"sha256": "sha256", "pack_uri": "was"})
    report.bytes_moved += sum(ref.length for _, ref in moves)


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
    with tempfile.TemporaryDirectory(prefix="lake-", dir=context.staging_dir) as scratch:
        writer = PackWriter(
            context.store,
            Path(scratch),
            target_bytes=context.target_bytes,
            max_blob_bytes=context.max_blob_bytes,
        )
        done: dict[str, BlobRef] = {}
        for ref, data in scan(context.store, [ref for ref, _ in items]):
            if isinstance(data, IntegrityError):
                findings.append(str(data))
                continue
            if ref.sha256 not in done:
                device_id = devices[ref.sha256, ref.pack_uri]
                done[ref.sha256] = writer.add(ref.sha256, data, ref.content_type, device_id)
            moves.append((ref.pack_uri, done[ref.sha256]))
        writer.close()
    yield pickle.dumps((moves, findings))


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


def _moved_rows(moves: Sequence[Move]) -> pa.Table:
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
            "SELECT DISTINCT a.sha256, b.pack_uri AS uri, b.\"offset\" AS at, a.file['size'] AS size,"
            " a.file.content_type AS content_type, a.file.checksum AS checksum FROM assets a"
            ' JOIN (SELECT sha256, min_by(pack_uri, pack_uri) AS pack_uri, min_by("offset", pack_uri) AS "offset"'
            " FROM blobs GROUP BY sha256) b USING (sha256)"
            " WHERE NOT EXISTS (SELECT 1 FROM blobs c WHERE c.sha256 = a.sha256 AND c.pack_uri = a.file.uri"
            ' AND c."offset" = a.file."offset")'
        ).to_arrow_table()
    if not stale.num_rows:
        return 0
    names = {"uri": "uri", "offset": "at", "size": "size", "content_type": "content_type", "checksum": "checksum"}
    arrays = [
        stale.column(names[each.name]).combine_chunks().cast(each.type)
        if each.name in names
        else pa.nulls(stale.num_rows, each.type)
        for each in FILE
    ]
    file = pa.StructArray.from_arrays(arrays, fields=list(FILE))
    rows = pa.table({"sha256": stale.column("sha256").cast(pa.string()), "file": file})
    return update_rows(tables, "assets", rows, on={"sha256": "sha256"})
