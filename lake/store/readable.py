"""Reading through obstore: what a folder and a bucket share."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lake.errors import StoreError
from lake.store.foreign import STAGING, checked, errors

COALESCE_BYTES = 256 * 1024
"""Ranges of one object with a smaller gap are fetched in one request."""
_MAX_OFFSET = 1 << 62


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a store."""

    key: str
    size_bytes: int
    etag: str | None = None
    modified_at_utc: datetime | None = field(default=None, compare=False)
    """When it was written, by the store's own clock."""


class Readable:
    """The reading half of an object store; ``_client`` is the store's own."""

    root: str

    @property
    def _client(self) -> Any:
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        import obstore

        with errors(self.root, key):
            return bytes(obstore.get(self._client, checked(key)).bytes())

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        return self.get_ranges(key, [(offset, length)])[0]

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        import obstore

        checked(key)
        spans = _spans(key, ranges)
        if not spans:
            return [b"" for _ in ranges]
        with errors(self.root, key):
            # Merged here and not by obstore: it panics where one of several merged ranges lies past the end (0.12).
            found = obstore.get_ranges(
                self._client,
                key,
                starts=[start for start, _ in spans],
                ends=[end for _, end in spans],
                coalesce=0,
            )
        chunks = [memoryview(chunk) for chunk in found]
        for (start, end), chunk in zip(spans, chunks, strict=True):
            if len(chunk) != end - start:
                raise StoreError(f"{self.root}/{key} ends before byte {end}: the object is cut off")
        return [_cut(spans, chunks, offset, length) for offset, length in ranges]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        import obstore

        below = checked(prefix.removesuffix("/")) if prefix else None
        with errors(self.root, prefix):
            pages = iter(obstore.list(self._client, below, chunk_size=1000))
        while True:
            # Nothing is yielded inside ``errors``: what the caller does with an entry is no error of the store.
            with errors(self.root, prefix):
                page = next(pages, None)
            if page is None:
                return
            for entry in page:
                if not entry["path"].startswith(f"{STAGING}/"):
                    yield _info(entry["path"], entry)

    def stat(self, key: str) -> ObjectInfo:
        import obstore

        with errors(self.root, key):
            entry = obstore.head(self._client, checked(key))
        return _info(key, entry)


def _info(key: str, entry: Any) -> ObjectInfo:
    return ObjectInfo(key, int(entry["size"]), entry.get("e_tag"), entry["last_modified"])


def _spans(key: str, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges that are near or overlap as one span (start, end) each, in order; empty ranges need none."""
    spans: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if offset < 0 or length < 0 or offset + length > _MAX_OFFSET:
            raise StoreError(f"{key} cannot have {length} bytes at {offset}")
        if not length:
            continue
        if spans and offset - spans[-1][1] < COALESCE_BYTES:
            spans[-1] = (spans[-1][0], max(spans[-1][1], offset + length))
        else:
            spans.append((offset, offset + length))
    return spans


def _cut(spans: list[tuple[int, int]], chunks: list[memoryview], offset: int, length: int) -> bytes:
    if not length:
        return b""
    number = bisect.bisect_right(spans, offset, key=lambda span: span[0]) - 1
    start = offset - spans[number][0]
    return bytes(chunks[number][start : start + length])
