"""What the pack store holds and what it costs beside the payload. No JVM; aggregates are made by DuckDB."""

from __future__ import annotations

from typing import Any

import pyarrow.dataset as ds

from lake.store.objects import ObjectStore


def stat(store: ObjectStore, blobs: ds.Dataset, blobs_folder: str) -> dict[str, Any]:
    """Counts and bytes of the store. Runs on the driver.

    ``overhead_bytes`` is the framing and footers of the packs plus the ``blobs`` table with its log;
    ``orphan_bytes`` is what lies in packs and large blobs that no row refers to.
    """
    referred, used = _referred(blobs)
    stored = {entry.key: entry.size_bytes for prefix in ("packs", "blobs") for entry in store.list(prefix)}
    packs = {key: size for key, size in stored.items() if key.startswith("packs/")}
    known_packs = {key: size for key, size in packs.items() if key in referred}
    table_bytes = sum(entry.size_bytes for entry in store.list(blobs_folder))
    root_bytes = sum(entry.size_bytes for entry in store.list(""))
    payload = used["payload_bytes"]
    framing = sum(known_packs.values()) - sum(referred[key] for key in known_packs)
    overhead = framing + table_bytes
    count = used["blobs"]
    return {
        "blobs": count,
        "packs": len(known_packs),
        "large_blobs": sum(key.startswith("blobs/") for key in referred),
        "bytes": used["size_bytes"],
        "payload_bytes": payload,
        "pack_bytes": sum(known_packs.values()),
        "framing_bytes": framing,
        "table_bytes": table_bytes,
        "overhead_bytes": overhead,
        "overhead_bytes_per_blob": round(overhead / count, 1) if count else 0.0,
        "dead_bytes": 0,
        "orphan_bytes": sum(size for key, size in stored.items() if key not in referred),
        "missing_objects": sum(key not in stored for key in referred),
        "root_bytes": root_bytes,
        "root_overhead_bytes_per_blob": round((root_bytes - payload) / count, 1) if count else 0.0,
    }


def _referred(blobs: ds.Dataset) -> tuple[dict[str, int], dict[str, int]]:
    """Payload bytes by object, and the totals; a content that two drivers stored counts once in each object."""
    import duckdb

    connection = duckdb.connect(":memory:")
    connection.register("blobs", blobs)
    by_object = connection.execute(
        'SELECT pack_uri, sum(length) FROM (SELECT DISTINCT pack_uri, "offset", length FROM blobs) GROUP BY pack_uri'
    ).fetchall()
    count, size, payload = connection.execute(
        "SELECT count(*), coalesce(sum(s), 0), coalesce(sum(l), 0) FROM"
        " (SELECT sha256, min(size_bytes) AS s, min(length) AS l FROM blobs GROUP BY sha256)"
    ).fetchall()[0]
    connection.close()
    return {key: int(total) for key, total in by_object}, {
        "blobs": int(count),
        "size_bytes": int(size),
        "payload_bytes": int(payload),
    }
