"""Rows of a lake of any size, made by number: what the index looks like when millions of recordings have landed.

Rows only: no pack is written. Record ``i`` is everywhere the same one: row ``i`` of ``arrivals`` and ``assets`` in
their order, and the row of its content in ``blobs``, whose place in the order of checksums is a permutation of ``i``.
So each table is made in its order, a chunk at a time, and memory does not grow with the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.catalog.sort import SORTED_GROUP_ROWS, write_files
from lake.schema import ARRIVALS, ASSETS, BLOBS, FILE
from lake.tables import Tables

DEVICES = 200
DEVICES_A_SITE = 50
SEGMENT_S = 10
PACK_BLOBS = 2_400
MIN_BYTES, MAX_BYTES = 4 * 1024, 100 * 1024
START_US = 1_735_689_600_000_000
"""2025-01-01, when the first segment of each device was captured."""
_STEP = 0x9E3779B97F4A7C15
_PAIRS = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)


@dataclass(frozen=True)
class Synthetic:
    """A lake of ``objects`` recordings of 10 s, device by device."""

    objects: int

    def fill(self, tables: Tables) -> None:
        """Commit all rows to empty tables, as ``lake maintain`` leaves them: sorted, in files of its size."""
        makers: dict[str, Callable[[Any], pa.Table]] = {
            "blobs": self.blobs,
            "assets": self.assets,
            "arrivals": self.arrivals,
        }
        for name, rows in makers.items():
            table = tables.open(name)
            schema = tables.dataset_of(name, table).schema
            tables.commit(name, table, list(write_files(tables, name, schema, self._chunks(rows))), {})

    def _chunks(self, rows: Callable[[Any], pa.Table]) -> Iterator[pa.RecordBatch]:
        for start in range(0, self.objects, SORTED_GROUP_ROWS):
            numbers = np.arange(start, min(start + SORTED_GROUP_ROWS, self.objects), dtype=np.uint64)
            yield rows(numbers).combine_chunks().to_batches()[0]

    def arrivals(self, i: Any) -> pa.Table:
        """Rows ``i`` in the order of (source, key)."""
        seen = self._captured(i)
        return pa.table(
            {
                "arrival_id": self._arrival_id(i),
                "source": self._source(i),
                "key": self._key(i),
                "version": pc.binary_join_element_wise(
                    _text(self.size_bytes(i)), _text(START_US + i), _text(START_US + i), _text(i), "-"
                ),
                "size_bytes": self.size_bytes(i),
                "modified_at_utc": seen,
                "seen_at_utc": seen,
                "device_id": self._device(i),
                "state": pa.repeat("landed", len(i)),
                "sha256": self.sha256(i),
                "asset_id": self._asset_id(i),
                "run_id": self._run(i),
            },
            schema=ARRIVALS,
        )

    def assets(self, i: Any) -> pa.Table:
        """Rows ``i`` in the order of (device, time)."""
        sha256, content_type = self.sha256(i), pa.repeat("audio/wav", len(i))
        file = {
            "uri": self._pack(i),
            "offset": self._offset(i),
            "size": self.size_bytes(i),
            "content_type": content_type,
            "checksum": pc.binary_join_element_wise("sha256", sha256, ":"),
            "inline": pa.nulls(len(i), pa.binary()),
        }
        columns = {
            "asset_id": self._asset_id(i),
            "sha256": sha256,
            "file": pa.StructArray.from_arrays([_of_type(file[f.name], f.type) for f in FILE], fields=list(FILE)),
            "path": self._key(i),
            "source": self._source(i),
            "media_kind": pa.repeat("audio", len(i)),
            "content_type": content_type,
            "device_id": self._device(i),
            "captured_at_utc": self._captured(i),
            "received_at_utc": self._captured(i),
            "size_bytes": self.size_bytes(i),
            "container": pa.repeat("wav", len(i)),
            "codecs": pa.repeat("pcm_s16le", len(i)),
            "duration_s": self.size_bytes(i) / 16_000,
            "sample_rate_hz": np.full(len(i), 8_000, np.int32),
            "channels": np.full(len(i), 1, np.int32),
            "run_id": self._run(i),
        }
        nulls = {field.name: pa.nulls(len(i), field.type) for field in ASSETS if field.name not in columns}
        return pa.table({**columns, **nulls}).select(ASSETS.names).cast(ASSETS)

    def blobs(self, place: Any) -> pa.Table:
        """Rows at these places in the order of checksums."""
        i = self._at_place(place)
        size = self.size_bytes(i)
        return pa.table(
            {
                "sha256": self.sha256(i),
                "size_bytes": size,
                "pack_uri": self._pack(i),
                "offset": self._offset(i),
                "length": size,
                "codec": pa.repeat("raw", len(i)),
                "crc32c": (_mixed(i, 9) >> np.uint64(32)).astype(np.int64),
                "content_type": pa.repeat("audio/wav", len(i)),
                "device_id": self._device(i),
                "first_seen_at_utc": self._captured(i),
                "arrival_id": self._arrival_id(i),
            },
            schema=BLOBS,
        )

    def sha256(self, i: Any) -> pa.Array:
        """Checksums of records: eight bytes that ascend with their place, the others mixed."""
        head = self._place(i) * np.uint64(2**64 // self.objects) + _mixed(i, 1) % np.uint64(2**64 // self.objects)
        return _hex(np.stack([head, *(_mixed(i, salt) for salt in (2, 3, 4))], axis=1))

    def size_bytes(self, i: Any) -> Any:
        """Sizes of records, spread evenly; 52 KiB on average."""
        return (MIN_BYTES + _mixed(i, 5) % np.uint64(MAX_BYTES - MIN_BYTES)).astype(np.int64)

    @cached_property
    def _factor(self) -> int:
        """Makes ``i * factor % objects`` a permutation that leaves no neighbours."""
        factor = int(self.objects * 0.6180339887) | 1
        while gcd(factor, self.objects) != 1:
            factor += 2
        return factor

    def _place(self, i: Any) -> Any:
        return i * np.uint64(self._factor) % np.uint64(self.objects)

    def _at_place(self, place: Any) -> Any:
        return place * np.uint64(pow(self._factor, -1, self.objects)) % np.uint64(self.objects)

    @property
    def _each(self) -> int:
        """Recordings of one device."""
        return -(-self.objects // DEVICES)

    def _device(self, i: Any) -> pa.Array:
        return pa.array([f"cam-{number:04}" for number in range(DEVICES)]).take(pa.array(i // np.uint64(self._each)))

    def _source(self, i: Any) -> pa.Array:
        names = pa.array([f"file:///srv/drop/site-{number:02}" for number in range(DEVICES // DEVICES_A_SITE)])
        return names.take(pa.array(i // np.uint64(self._each * DEVICES_A_SITE)))

    def _captured(self, i: Any) -> pa.Array:
        at = START_US + (i % np.uint64(self._each)).astype(np.int64) * SEGMENT_S * 1_000_000
        return pa.array(at).cast(pa.timestamp("us", "UTC"))

    def _key(self, i: Any) -> pa.Array:
        day = pc.strftime(self._captured(i), "%Y%m%d/%Y%m%dT%H%M")
        second = _text((i % np.uint64(self._each)).astype(np.int64) * SEGMENT_S % 60)
        return pc.binary_join_element_wise(self._device(i), "/", day, pc.utf8_lpad(second, 2, "0"), "Z.wav", "")

    def _pack(self, i: Any) -> pa.Array:
        packs, at = np.unique(i // np.uint64(PACK_BLOBS), return_inverse=True)
        ids = _hex(np.stack([_mixed(packs, 6), _mixed(packs, 7)], axis=1))
        return pc.binary_join_element_wise("packs/20250101/", ids, ".pack", "").take(pa.array(at))

    def _offset(self, i: Any) -> Any:
        return (i % np.uint64(PACK_BLOBS)).astype(np.int64) * MAX_BYTES + 128

    def _run(self, i: Any) -> pa.Array:
        runs, at = np.unique(i // np.uint64(2048), return_inverse=True)
        names = pc.binary_join_element_wise("20250101T000000", pc.utf8_lpad(_text(runs), 8, "0"), "4711", "-")
        return names.take(pa.array(at))

    def _arrival_id(self, i: Any) -> pa.Array:
        return _hex(np.stack([_mixed(i, 10), _mixed(i, 11)], axis=1))

    def _asset_id(self, i: Any) -> pa.Array:
        return _hex(np.stack([_mixed(i, 12), _mixed(i, 13)], axis=1))


def _mixed(i: Any, salt: int) -> Any:
    """64 bits that look random, the same for the same number (the finalizer of SplitMix64)."""
    z = i.astype(np.uint64) + np.uint64(_STEP * salt % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _hex(words: Any) -> pa.Array:
    """Hexadecimal text of rows of 64-bit words."""
    count, each = words.shape
    digits = _PAIRS[np.ascontiguousarray(words.astype(">u8")).view(np.uint8)].reshape(-1)
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(16 * each)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(digits)))


def _text(numbers: Any) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


def _of_type(values: Any, kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, kind)
