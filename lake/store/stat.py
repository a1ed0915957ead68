"""What the pack store holds and what it costs beside the payload. No JVM."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow.dataset as ds

from lake.errors import IntegrityError
from lake.store.about import about_key
from lake.store.index import read_footer
from lake.store.objects import ObjectInfo, ObjectStore
from lake.store.usage import current_usage

FOOTERS_AT_ONCE = 16


def stat(store: ObjectStore, blobs: ds.Dataset, blobs_folder: str) -> dict[str, Any]:
    """Counts and bytes of the store. Runs on the driver.

    ``overhead_bytes`` is the framing and footers of the packs, the descriptions of large blobs, and the ``blobs`` table
    with its log; ``dead_bytes`` is payload in packs that no row refers to, beside payload that one does;
    ``orphan_bytes`` is what lies in packs and large blobs that no row refers to at all.
    """
    used = current_usage(store, blobs, blobs_folder)
    referred = used.objects
    stored = {entry.key: entry for prefix in ("packs", "blobs") for entry in store.list(prefix)}
    known = {key: stored[key] for key in referred if key in stored}
    packs = [entry for key, entry in known.items() if key.startswith("packs/")]
    about = [stored[about_key(key)] for key in known if about_key(key) in stored]
    dead = _dead_bytes(store, packs, referred)
    framing = sum(entry.size_bytes - referred[entry.key] for entry in packs) - dead
    table_bytes = sum(entry.size_bytes for entry in store.list(blobs_folder))
    root_bytes = sum(entry.size_bytes for entry in store.list(""))
    payload, count = used.payload_bytes, used.blobs
    overhead = framing + sum(entry.size_bytes for entry in about) + table_bytes
    orphans = stored.keys() - known.keys() - {entry.key for entry in about}
    return {
        "blobs": count,
        "packs": len(packs),
        "large_blobs": sum(key.startswith("blobs/") for key in referred),
        "bytes": used.size_bytes,
        "payload_bytes": payload,
        "pack_bytes": sum(entry.size_bytes for entry in packs),
        "framing_bytes": framing,
        "table_bytes": table_bytes,
        "overhead_bytes": overhead,
        "overhead_bytes_per_blob": round(overhead / count, 1) if count else 0.0,
        "dead_bytes": dead,
        "orphan_bytes": sum(stored[key].size_bytes for key in orphans),
        "missing_objects": len(referred) - len(known),
        "root_bytes": root_bytes,
        "root_overhead_bytes_per_blob": round((root_bytes - payload) / count, 1) if count else 0.0,
    }


def _dead_bytes(store: ObjectStore, packs: Sequence[ObjectInfo], referred: dict[str, int]) -> int:
    """Payload beside the payload that rows refer to, by the footers; a pack whose footer is destroyed counts none."""

    def dead(entry: ObjectInfo) -> int:
        try:
            return sum(each.length for each in read_footer(store, entry)) - referred[entry.key]
        except IntegrityError:
            return 0

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return sum(pool.map(dead, packs))
