"""Scrubbing what the tables consist of: files of rows and of the log, compared with what an earlier scrub read.

A pack says by itself what its bytes have to be; a Parquet file or an entry of the log does not. But they never change:
so the first scrub that reads one and finds it readable notes its CRC-32C, and every later one compares. Runs on the
driver, for the tables are about a hundredth of what lies in the packs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lake.errors import IntegrityError, NotFound
from lake.store.index import Window
from lake.store.objects import ObjectInfo, ObjectStore
from lake.store.reader import open_object
from lake.store.verify import Damage
from lake.tables import Tables

FOLDERS = ("tables", "features", "libraries")
MUTABLE = ("_last_checkpoint", "_usage.json.z")
"""What is written anew in its place, by its name."""
SETTLED = timedelta(hours=1)
"""What is younger may be being written."""
AT_ONCE = 8


@dataclass(frozen=True)
class FileCheck:
    """A file of a table that was read."""

    entry: ObjectInfo
    crc32c: int
    damage: Damage | None
    known: tuple[int, int] | None
    """Its size and CRC-32C when it was first read."""


Known = Mapping[str, tuple[int, int]]
"""Size and CRC-32C of each file when it was first read and whole, by key."""


def check_files(store: ObjectStore, known: Known, now: datetime) -> Iterator[FileCheck]:
    """Read every file of every table that is settled; those that upkeep deletes meanwhile are left out."""
    entries = (entry for folder in FOLDERS for entry in store.list(folder) if _is_due(entry, now))
    with ThreadPoolExecutor(AT_ONCE, "lake-scrub") as threads:
        for check in threads.map(functools.partial(_check, store, known), entries):
            if check is not None:
                yield check


def _is_due(entry: ObjectInfo, now: datetime) -> bool:
    settled = entry.modified_at_utc is not None and entry.modified_at_utc < now - SETTLED
    return settled and not entry.key.endswith(MUTABLE)


def known_files(tables: Tables) -> Known:
    """What earlier scrubs noted."""
    wanted = pc.field("crc32c").is_valid() & (pc.field("damages") == 0)
    columns = ["key", "size_bytes", "crc32c", "at_utc"]
    found = tables.dataset("scrubs").to_table(columns=columns, filter=wanted).sort_by([("at_utc", "descending")])
    facts = zip(found.column("size_bytes").to_pylist(), found.column("crc32c").to_pylist(), strict=True)
    return dict(zip(found.column("key").to_pylist(), facts, strict=True))


def _check(store: ObjectStore, known: Known, entry: ObjectInfo) -> FileCheck | None:
    before = known.get(entry.key)
    try:
        crc, _ = Window(store, entry).checksums(0, entry.size_bytes)
        if before is None:
            said = _unreadable(store, entry)
        else:
            said = None if before == (entry.size_bytes, crc) else "is not what an earlier scrub read"
    except NotFound:
        return None
    except IntegrityError as error:  # the store itself found it hurt
        crc, said = 0, str(error)
    damage = Damage(entry.key, "table", None, 0, entry.size_bytes, f"{entry.key} {said}") if said else None
    return FileCheck(entry, crc, damage, before)


def _unreadable(store: ObjectStore, entry: ObjectInfo) -> str | None:
    """Why a file cannot be read, as far as its format tells."""
    with open_object(store, entry.key, entry.size_bytes) as stream:
        try:
            if entry.key.endswith(".parquet"):
                for _ in pq.ParquetFile(stream).iter_batches(batch_size=10_000):
                    pass
            elif entry.key.endswith(".json"):
                for line in stream:
                    json.loads(line)
        except (pa.ArrowException, OSError, ValueError) as error:
            return f"cannot be read: {' '.join(str(error).split())[:200]}"
    return None
