"""What an executor can tell of a content without the tables: that it is surely new, or may be stored. No Arrow."""

from __future__ import annotations

import functools
import itertools
from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

from lake.store.bloom import bits_of, hash_of, may_have
from lake.store.objects import ObjectStore

SPAN_BYTES = 4 * 1024**2
"""Filters of a file lie side by side: so many bytes of them are read at once."""
SPANS_KEPT = 16
"""In a worker's memory, 64 MiB: the filters of 16 million rows."""


@dataclass(frozen=True)
class Span:
    """Filters of a sorted file that are read together."""

    path: str
    """Below the table's folder."""
    offset: int
    length: int


@dataclass(frozen=True)
class RowGroup:
    """One row group of a sorted file, as its footer tells. Pickles."""

    span: Span
    number: int
    least: str
    most: str
    filter_offset: int
    filter_bytes: int

    def may_have(self, spanned: bytes, hashed: int) -> bool:
        """Whether the group may have a value with this hash, by the bytes of its span; False is certain."""
        at = self.filter_offset - self.span.offset
        return may_have(bits_of(memoryview(spanned)[at : at + self.filter_bytes]), hashed)


@dataclass(frozen=True)
class Known:
    """The filters of a table's sorted files. Pickles; reads them when asked."""

    folder: str
    """Key of the table's folder below the root."""
    groups: tuple[RowGroup, ...]

    def may_have(self, value: str, store: ObjectStore) -> bool:
        """Whether a value may be there; False is certain."""
        near = self.near(value)
        if not near:
            return False
        hashed = hash_of(value)
        return any(group.may_have(_kept(cast(Hashable, store), self.folder, group.span), hashed) for group in near)

    def near(self, value: str) -> list[RowGroup]:
        """The row groups that a value lies in the range of: one as a rule, none is missed where ranges overlap."""
        ordered, least, most_so_far = self._ordered
        at = bisect_right(least, value)
        found = []
        while at > 0 and most_so_far[at - 1] >= value:
            at -= 1
            if ordered[at].most >= value:
                found.append(ordered[at])
        return found

    @functools.cached_property
    def _ordered(self) -> tuple[list[RowGroup], list[str], list[str]]:
        """Row groups by their least value, these values, and the greatest value up to each."""
        ordered = sorted(self.groups, key=lambda group: group.least)
        most_so_far = list(itertools.accumulate((group.most for group in ordered), max))
        return ordered, [group.least for group in ordered], most_so_far


@functools.lru_cache(SPANS_KEPT)
def _kept(store: Any, folder: str, span: Span) -> bytes:
    """Filters that a worker process read last: files never change, so they stay right."""
    return bytes(store.get_range(f"{folder}/{span.path}", span.offset, span.length))
