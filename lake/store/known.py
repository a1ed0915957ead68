"""What an executor can tell of a content without the tables: that it is surely new, or may be stored. No Arrow."""

from __future__ import annotations

import functools
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

from lake.store.bloom import bits_of, may_have, xxh64
from lake.store.objects import ObjectStore

FILTERS_KEPT = 256
"""In a worker's memory, 64 MiB at most: those of 16 million rows."""


@dataclass(frozen=True)
class RowGroup:
    """One row group of a sorted file, as its footer tells. Pickles."""

    path: str
    """Below the table's folder."""
    number: int
    least: str
    most: str
    filter_offset: int
    filter_bytes: int


@dataclass(frozen=True)
class Known:
    """The filters of a table's sorted files. Pickles; reads them when asked."""

    folder: str
    """Key of the table's folder below the root."""
    groups: tuple[RowGroup, ...]

    def may_have(self, value: str, store: ObjectStore) -> bool:
        """Whether a value may be there; False is certain."""
        near = [group for group in self.groups if group.least <= value <= group.most]
        if not near:
            return False
        hashed = xxh64(value.encode())
        return any(
            may_have(_kept_bits(cast(Hashable, store), f"{self.folder}/{each.path}", each), hashed) for each in near
        )


@functools.lru_cache(FILTERS_KEPT)
def _kept_bits(store: Any, key: str, group: RowGroup) -> bytes:
    """Filters that a worker process read last: files never change, so they stay right."""
    return bits_of(store.get_range(key, group.filter_offset, group.filter_bytes))
