"""Packs for tests: blobs of a seed, written as the lake writes them; and stores that count or misbehave."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lake.model import BlobRef
from lake.store.index import ObjectIndex, index_pack
from lake.store.objects import FolderStore, ObjectStore
from lake.store.pack import TRAILER
from lake.store.writer import PackWriter

Blob = tuple[bytes, str, str | None]
"""Content, content type, device id."""


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write_packs(store: ObjectStore, scratch: Path, blobs: Sequence[Blob], target_bytes: int = 1 << 20) -> list[BlobRef]:
    """Write blobs into packs of a store."""
    scratch.mkdir(parents=True, exist_ok=True)
    writer = PackWriter(store, scratch, target_bytes=target_bytes)
    refs = [writer.add(sha256_of(data), data, kind, device) for data, kind, device in blobs]
    writer.close()
    return refs


def pack_keys(store: ObjectStore) -> list[str]:
    return sorted(entry.key for entry in store.list("packs"))


def index_of(store: ObjectStore, key: str) -> ObjectIndex:
    """What the index says of one pack as it lies there now."""
    return index_pack(store, store.stat(key))


def without_footer(data: bytes) -> bytes:
    """A pack whose trailer is overwritten, so that only its frames tell what it holds."""
    return data[: -TRAILER.size] + bytes(TRAILER.size)


@dataclass(frozen=True)
class CountingStore(FolderStore):
    """A folder that remembers the range requests it got."""

    requests: list[tuple[str, int, int]] = field(default_factory=list)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.requests.extend((key, offset, length) for offset, length in ranges)
        return super().get_ranges(key, ranges)
