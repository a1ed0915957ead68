"""Garbage collection: packs and large blobs that no retained version of ``blobs`` names. No JVM; runs on the driver.

Garbage is what a crash leaves (a pack whose rows were never committed) and what compaction and erasure leave behind.
Everything hangs on one time, the horizon: ``hold`` ago, or when the oldest of those that are at work began, if that
is earlier. What was written after it may belong to a writer that has not committed yet; what any version of the table
named since then may be about to be read. Both are left alone.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lake.errors import NotFound, PolicyRefused, StoreError
from lake.rewrite import all_rewrites
from lake.store.about import SUFFIX
from lake.store.lease import dead_leases, horizon
from lake.store.objects import ObjectInfo, ObjectStore
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow.dataset as ds

LISTED_AT_ONCE = 50_000
MAX_TOLD = 1000


@dataclass
class GcReport:
    """What a collection found and did; the fixed fields of ``lake store gc --json``."""

    objects: int = 0
    orphans: int = 0
    """Objects that no retained version names, those within the hold too."""
    orphan_bytes: int = 0
    deleted: int = 0
    deleted_bytes: int = 0
    held: int = 0
    """Orphans left alone: written after the horizon."""
    horizon_utc: datetime | None = None
    keys: list[str] = field(default_factory=list)
    """What was deleted, or would be; the first thousand."""


def collect(
    store: ObjectStore,
    tables: Tables,
    now: datetime,
    hold: timedelta,
    *,
    dry_run: bool = False,
    progress: Callable[[GcReport], None] = lambda report: None,
) -> GcReport:
    """Delete what nobody can be led to any more.

    Raises:
        PolicyRefused: the table of blobs is empty and the store is not: the table is what was lost.
    """
    since = horizon(store, now, hold)
    report = GcReport(horizon_utc=since)
    with _Referred(named_since(tables, since)) as referred:
        for listed in _listed(store):
            report.objects += len(listed)
            if listed and not referred.count:
                raise PolicyRefused("the table of blobs is empty and the store is not: run `lake store rebuild` first")
            for entry in referred.orphans(listed):
                _collect_one(store, entry, since, report, dry_run=dry_run)
            progress(report)
    if not dry_run:
        for key in dead_leases(store, now):
            store.delete(key)
    return report


def _collect_one(store: ObjectStore, entry: ObjectInfo, since: datetime, report: GcReport, *, dry_run: bool) -> None:
    report.orphans += 1
    report.orphan_bytes += entry.size_bytes
    if _is_young(entry, since) or (entry.key.startswith("blobs/") and _is_written_anew(store, entry.key, since)):
        report.held += 1
        return
    if not dry_run:
        store.delete(entry.key)
    report.deleted += 1
    report.deleted_bytes += entry.size_bytes
    if len(report.keys) < MAX_TOLD:
        report.keys.append(entry.key)


def _is_young(entry: ObjectInfo, since: datetime) -> bool:
    return entry.modified_at_utc is None or entry.modified_at_utc > since


def _is_written_anew(store: ObjectStore, key: str, since: datetime) -> bool:
    """Whether a large blob was stored again since it was listed: its key is its content, a pack's is its own."""
    try:
        return _is_young(store.stat(key), since)
    except NotFound:
        return False


def _listed(store: ObjectStore) -> Iterator[list[ObjectInfo]]:
    """Packs, large blobs and their descriptions, some at a time."""
    entries = itertools.chain(store.list("packs"), store.list("blobs"))
    while chunk := list(itertools.islice(entries, LISTED_AT_ONCE)):
        yield chunk


def named_since(tables: Tables, since: datetime) -> list[ds.Dataset]:
    """Versions of ``blobs`` that together name all that any version named which was current after the horizon.

    Rows are taken out by rewrites alone, so these are the newest version and the one before each of those; one that an
    erasure made unreadable leads nobody anywhere.
    """
    table = tables.open("blobs")
    commits = [commit for commit in table.history() if commit["timestamp"] / 1000 >= since.timestamp()]
    named = [tables.dataset_of("blobs", table)]
    for version in all_rewrites(commits):
        with contextlib.suppress(NotFound):
            named.append(tables.dataset("blobs", version - 1))
    return named


class _Referred:
    """The keys that versions of the table name, in a DuckDB that spills to disk."""

    def __init__(self, versions: list[ds.Dataset]) -> None:
        import duckdb

        self._db: Any = duckdb.connect(":memory:")
        self._db.execute("CREATE TABLE referred (key VARCHAR)")
        for number, version in enumerate(versions):
            self._db.register("version", version)
            try:
                self._db.execute("INSERT INTO referred SELECT DISTINCT pack_uri FROM version")
            except (duckdb.Error, OSError) as error:
                # A version whose files an erasure removed can be read by nobody, and so leads nobody anywhere.
                if number == 0:
                    raise StoreError(f"the table of blobs cannot be read: {' '.join(str(error).split())}") from error
            self._db.unregister("version")
        self.count = int(self._db.execute("SELECT count(*) FROM referred").fetchall()[0][0])

    def orphans(self, listed: list[ObjectInfo]) -> list[ObjectInfo]:
        """Those that no version names; the description of a large blob is named with it."""
        keys = [entry.key.removesuffix(SUFFIX) for entry in listed]
        self._db.register("listed", pa.table({"key": keys, "number": range(len(keys))}))
        found = self._db.execute("SELECT number FROM listed ANTI JOIN referred USING (key) ORDER BY number").fetchall()
        self._db.unregister("listed")
        return [listed[number] for (number,) in found]

    def __enter__(self) -> _Referred:
        return self

    def __exit__(self, *error: object) -> None:
        self._db.close()
