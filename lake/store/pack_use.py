"""What the packs are used for, and which of them are written anew. No Spark; runs on the driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lake.store.blobs import asking
from lake.store.codec import is_compressible
from lake.store.objects import ObjectStore
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
    untried_bytes: int = 0
    """Payload that compression may pay for, where it is wanted."""

    @property
    def expected_bytes(self) -> int:
        """What is left when it is written anew; half of what is compressed, says the real corpus."""
        return self.live_bytes - self.untried_bytes // 2

    @property
    def dead_bytes(self) -> int:
        return max(0, self.size_bytes - self.live_bytes - self.blobs * FRAMING_BYTES)


def pack_uses(store: ObjectStore, tables: Tables, *, recompress: bool = False) -> list[PackUse]:
    """Every pack that ``blobs`` names and the store has; with what is to be compressed where that is wanted."""
    sizes = {entry.key: entry.size_bytes for entry in store.list("packs")}
    with asking(blobs=tables.dataset("blobs")) as db:
        rows = db.execute(
            "SELECT pack_uri, count(*), sum(length), coalesce(min(device_id), ''),"
            " coalesce(sum(length) FILTER (codec = 'raw' AND list_contains($types, content_type)), 0)"
            ' FROM (SELECT DISTINCT pack_uri, "offset", length, device_id, codec, content_type FROM blobs'
            " WHERE pack_uri LIKE 'packs/%') GROUP BY 1 ORDER BY 1",
            {"types": compressible_types(db) if recompress else []},
        ).fetchall()
    return [
        PackUse(key, sizes[key], blobs, int(live), (key.rsplit("/", 1)[0], device), int(untried))
        for key, blobs, live, device, untried in rows
        if key in sizes
    ]


def compressible_types(db: Any) -> list[str]:
    """The content types of ``blobs`` that compression is tried on."""
    found = db.execute("SELECT DISTINCT content_type FROM blobs WHERE codec = 'raw'").fetchall()
    return [kind for (kind,) in found if kind and is_compressible(kind)]


def groups_of(uses: Sequence[PackUse], target_bytes: int) -> list[list[PackUse]]:
    """Packs to be rewritten together, each group about one full pack. Pure.

    A small pack alone is left as it is: rewriting it would change nothing.
    """
    dead = [use for use in uses if max(use.dead_bytes, use.untried_bytes // 2) > DEAD_SHARE * use.size_bytes]
    chosen = {use.key for use in dead}
    small = [use for use in uses if use.key not in chosen and use.size_bytes < SMALL_SHARE * target_bytes]
    groups = filled([*dead, *small], target_bytes)
    return [group for group in groups if len(group) > 1 or group[0].key in chosen]


def filled(uses: Sequence[PackUse], target_bytes: int) -> list[list[PackUse]]:
    """Packs in groups that each fill about one pack, those of one day and device together. Pure."""
    groups: list[list[PackUse]] = []
    size_bytes = 0
    for use in sorted(uses, key=lambda each: (*each.order, each.key)):
        if not groups or size_bytes + use.expected_bytes > target_bytes:
            groups.append([])
            size_bytes = 0
        groups[-1].append(use)
        size_bytes += use.expected_bytes
    return groups
