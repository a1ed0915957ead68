"""Upkeep of the Delta tables: small files merged in the order of look-ups, old files and old log removed. No JVM.

Tables that are only appended to grow by a file a commit. Merging them keeps a scan, a look-up and the next append as
quick as they were on the first day, and is where most of the bytes beside the payload go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lake.catalog.sort import is_loose, sort_table
from lake.history import remove_old_files
from lake.library.catalog import published_tables
from lake.store.usage import keep_usage
from lake.tables import SMALL_FILE_BYTES, Tables

ORDER: dict[str, tuple[str, ...]] = {
    "arrivals": ("source", "key"),
    "blobs": ("sha256",),
    "assets": ("device_id", "captured_at_utc"),
}
"""What a table is looked up by: its files are sorted so, and a look-up reads few of them."""
MIN_SMALL_FILES = 8
"""Fewer are not worth a rewrite."""
WHOLE_BYTES = 4 * 1024**3
"""A table up to this size is sorted anew as a whole; a larger one has its small files merged only."""


@dataclass
class TableUpkeep:
    """What was done to one table."""

    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    removed: int = 0
    """Files deleted that no retained version has."""


@dataclass
class MaintainReport:
    """What an upkeep did; the fixed fields of ``lake maintain --json``."""

    tables: dict[str, TableUpkeep] = field(default_factory=dict)


def maintain_tables(
    tables: Tables,
    hold_hours: int,
    *,
    dry_run: bool = False,
    progress: Callable[[MaintainReport], None] = lambda report: None,
) -> MaintainReport:
    """Merge, clean and checkpoint every table. Published versions of libraries stay whole, however old they are."""
    report = MaintainReport()
    published = published_tables(tables)
    for name in tables.names():
        before = tables.files(name)
        done = TableUpkeep(len(before), len(before), sum(before), sum(before))
        report.tables[name] = done
        small = sum(size < SMALL_FILE_BYTES for size in before)
        # A library's published version is a Delta version: its files are Spark's, and are left as they are.
        if not dry_run and "." not in name:
            if name in ORDER and sum(before) <= WHOLE_BYTES:
                if small >= MIN_SMALL_FILES or is_loose(tables, name):
                    sort_table(tables, name, ORDER[name])
            elif small >= MIN_SMALL_FILES:
                tables.merge_files(name)
            if name == "blobs":
                keep_usage(tables)
        keep = [published[name]] if name in published else []
        done.removed = remove_old_files(tables, name, hold_hours, keep, dry_run=dry_run)
        after = tables.files(name)
        done.files_after, done.bytes_after = len(after), sum(after)
        progress(report)
    return report
