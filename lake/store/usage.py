"""What rows of ``blobs`` take in the store: counted by ``lake maintain`` every night, and from there by what is new.

A count over all rows takes seconds for each million of them. So its result is kept beside the table, with the names of
the files that it was made of: files never change, so as long as all of them are in the table it holds for them, and
only rows that came since are counted. Where one of them is gone, all is counted anew.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from lake.errors import NotFound
from lake.store.blobs import asking
from lake.store.lookup import FILTERED, of_fragments, part_with
from lake.store.objects import ObjectStore
from lake.table_files import new_file
from lake.tables import Tables

if TYPE_CHECKING:
    import pyarrow.dataset as ds

KEPT = "_usage.json.z"
"""In the folder of the table; Delta takes names with an underscore for none of its own."""
MAX_LATER_ROWS = 100_000
"""Rows that came since, up to which counting them alone is quicker than counting all."""
COLUMNS = ["sha256", "size_bytes", "pack_uri", "offset", "length"]


@dataclass(frozen=True)
class Usage:
    """What rows of ``blobs`` refer to. A content that two drivers stored counts once, in each object that has it."""

    blobs: int
    size_bytes: int
    payload_bytes: int
    objects: dict[str, int]
    """Payload bytes of each pack and large blob."""


def usage_of(blobs: ds.Dataset) -> Usage:
    """Count all rows."""
    with asking(blobs=blobs) as db:
        by_object = db.execute(
            'SELECT pack_uri, sum(length) FROM (SELECT DISTINCT pack_uri, "offset", length FROM blobs) GROUP BY 1'
        ).fetchall()
        count, size, payload = db.execute(
            "SELECT count(*), coalesce(sum(s), 0), coalesce(sum(l), 0) FROM"
            " (SELECT sha256, min(size_bytes) AS s, min(length) AS l FROM blobs GROUP BY sha256)"
        ).fetchall()[0]
    return Usage(int(count), int(size), int(payload), {key: int(total) for key, total in by_object})


def keep_usage(tables: Tables) -> None:
    """Count all rows and keep what it gave. Runs on the driver."""
    blobs = tables.dataset("blobs")
    document = {"files": sorted(each.path for each in blobs.get_fragments()), **asdict(usage_of(blobs))}
    with new_file(tables.filesystem("blobs"), KEPT) as out:
        out.write(zlib.compress(json.dumps(document).encode(), 1))


def current_usage(store: ObjectStore, blobs: ds.Dataset, folder: str) -> Usage:
    """What the rows of ``blobs`` refer to, whose files lie below the key ``folder``. Runs on the driver."""
    kept = _kept(store, folder)
    fragments = list(blobs.get_fragments())
    counted = set(kept["files"]) if kept else set()
    if kept is None or not counted <= {each.path for each in fragments}:
        return usage_of(blobs)
    old = of_fragments([each for each in fragments if each.path in counted], blobs)
    later = of_fragments([each for each in fragments if each.path not in counted], blobs)
    if later.count_rows() > MAX_LATER_ROWS:
        return usage_of(blobs)
    usage = Usage(kept["blobs"], kept["size_bytes"], kept["payload_bytes"], kept["objects"])
    return _with_later(usage, old, later, store, folder)


def _with_later(usage: Usage, old: ds.Dataset, later: ds.Dataset, store: ObjectStore, folder: str) -> Usage:
    """Add rows that came later: what they and the older rows of their contents take, less what those took alone."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    column = FILTERED["blobs"]
    new = later.to_table(columns=COLUMNS)
    contents = sorted(set(new.column(column).to_pylist()))
    if not contents:
        return usage
    near = part_with(
        old,
        column,
        contents,
        lambda span: store.get_range(f"{folder}/{span.path}", span.offset, span.length),
    )
    same = near.to_table(columns=COLUMNS, filter=pc.field(column).isin(pa.array(contents, pa.string())))
    before, after = usage_of(ds.dataset(same)), usage_of(ds.dataset(pa.concat_tables([same, new])))
    objects = Counter(usage.objects)
    objects.update(after.objects)
    objects.subtract(before.objects)
    return Usage(
        usage.blobs + after.blobs - before.blobs,
        usage.size_bytes + after.size_bytes - before.size_bytes,
        usage.payload_bytes + after.payload_bytes - before.payload_bytes,
        dict(objects),
    )


def _kept(store: ObjectStore, folder: str) -> dict[str, Any] | None:
    try:
        document = json.loads(zlib.decompress(store.get(f"{folder}/{KEPT}")))
    except (NotFound, zlib.error, ValueError):
        return None  # never counted, or being written just now
    return document if isinstance(document, dict) else None
