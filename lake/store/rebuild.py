"""Rebuilding the table ``blobs`` from what lies in the store. No JVM; runs on the driver, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import NotFound
from lake.model import BlobRef, Row
from lake.schema import BLOBS
from lake.store.blobs import blob_row
from lake.store.index import ObjectIndex, read_index
from lake.store.objects import ObjectStore
from lake.store.tombstones import erased_contents, open_erasures
from lake.tables import Tables, rows_table

BATCH_BLOBS = 100_000
"""Blobs looked up and committed at once."""
MAX_FINDINGS_TOLD = 1000


@dataclass
class RebuildReport:
    """What a rebuild found and did; the fixed fields of ``lake store rebuild --json``."""

    packs: int = 0
    from_footers: int = 0
    from_frames: int = 0
    damaged: int = 0
    """Findings: blobs and stretches of packs that are lost, and objects that cannot be read."""
    blobs: int = 0
    added: int = 0
    bytes: int = 0
    assets: int = 0
    """Assets added, of recordings whose bytes are there (see ``lake.ingest.rebuild``)."""
    findings: list[str] = field(default_factory=list)

    def add(self, index: ObjectIndex) -> None:
        self.packs += index.key.startswith("packs/")
        self.from_footers += index.way == "footer"
        self.from_frames += index.way == "frames"
        self.damaged += len(index.findings)
        self.blobs += len(index.blobs)
        self.bytes += sum(ref.size_bytes for ref, _ in index.blobs)
        self.findings += index.findings[: MAX_FINDINGS_TOLD - len(self.findings)]


def rebuild(
    store: ObjectStore,
    tables: Tables,
    *,
    dry_run: bool = False,
    progress: Callable[[RebuildReport], None] = lambda report: None,
) -> RebuildReport:
    """Append to ``blobs`` what the store holds and the table does not name; a second rebuild appends nothing."""
    report = RebuildReport()
    if not dry_run:
        tables.create("blobs", BLOBS)
    counted: set[bytes] = set()
    batch: dict[str, tuple[BlobRef, str | None]] = {}
    for index in read_index(store):
        report.add(index)
        for ref, device_id in index.blobs:
            batch.setdefault(ref.sha256, (ref, device_id))
        if len(batch) >= BATCH_BLOBS:
            report.added += _append(tables, batch, counted if dry_run else None)
            batch = {}
        progress(report)
    report.added += _append(tables, batch, counted if dry_run else None)
    return report


def _append(tables: Tables, batch: dict[str, tuple[BlobRef, str | None]], counted: set[bytes] | None) -> int:
    """Commit the blobs that are not in the table; only count them, each once, where ``counted`` is given."""
    wanted = pc.field("sha256").isin(pa.array(list(batch), pa.string()))
    there = tables.dataset("blobs").to_table(columns=["sha256"], filter=wanted).column(0).to_pylist()
    missing = batch.keys() - set(there) - erased_contents(open_erasures(tables), "name", batch.keys()).keys()
    if counted is not None:
        new = {bytes.fromhex(sha256)[:16] for sha256 in missing} - counted
        counted |= new
        return len(new)
    firsts = _first_arrivals(tables, missing)
    rows = []
    for sha256, (ref, device_id) in batch.items():
        if sha256 not in missing:
            continue
        first = firsts.get(sha256, {})
        rows.append(blob_row(ref, device_id, first.get("seen_at_utc"), first.get("arrival_id")))
    tables.append("blobs", rows_table(rows, BLOBS))
    return len(rows)


def _first_arrivals(tables: Tables, contents: set[str]) -> dict[str, Row]:
    """The arrival that brought each content first, where the table of arrivals still says so."""
    wanted = pc.field("sha256").isin(pa.array(sorted(contents), pa.string())) & (pc.field("state") != "duplicate")
    columns = ["sha256", "arrival_id", "state", "seen_at_utc"]
    try:
        rows = tables.dataset("arrivals").to_table(columns=columns, filter=wanted).to_pylist()
    except NotFound:
        return {}
    firsts: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (r["state"] != "landed", r["seen_at_utc"])):
        firsts.setdefault(row["sha256"], row)
    return firsts
