"""Bloom filters as Parquet files have them: split blocks, XXH64 (parquet-format, BloomFilter.md). Pure; no Arrow.

Arrow writes them and does not look into them when it reads (pyarrow 26), so the lake does: a filter says of a text that
its row group surely does not have it, or that it may.
"""

from __future__ import annotations

import struct

from xxhash import xxh64_intdigest

_SALTS = (
    0x47B6137B, 0x44974D91, 0x8824AD5B, 0xA2B7289D, 0x705495C7, 0x2DF1424B, 0x9EFC4947, 0x5C6BFB31,
)  # fmt: skip
BLOCK = struct.Struct("<8I")
_NUM_BYTES_FIELD = 0x15
"""Thrift's compact mark of the first field, a 32-bit integer: how many bytes the bits have."""


def bits_of(stored: memoryview) -> memoryview:
    """The bits of a filter as it lies in a file, its header before them.

    Raises:
        ValueError: it is none that this lake knows.
    """
    if not len(stored) or stored[0] != _NUM_BYTES_FIELD:
        raise ValueError("no Bloom filter: its header is another's")
    number, shift, at = 0, 0, 1
    while at < len(stored):
        number |= (stored[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not stored[at - 1] & 0x80:
            break
    size_bytes = number >> 1
    if size_bytes == 0 or size_bytes % BLOCK.size or size_bytes > len(stored) - at:
        raise ValueError(f"no Bloom filter: {size_bytes} bytes of bits in {len(stored)}")
    return stored[-size_bytes:]


def hash_of(value: str) -> int:
    """The hash that the filters are asked by."""
    return xxh64_intdigest(value.encode())


def may_have(bits: memoryview, hashed: int) -> bool:
    """Whether a filter may have a value with this hash; False is certain."""
    blocks = len(bits) // BLOCK.size
    words = BLOCK.unpack_from(bits, ((hashed >> 32) * blocks >> 32) * BLOCK.size)
    low = hashed & 0xFFFFFFFF
    return all(word >> ((low * salt & 0xFFFFFFFF) >> 27) & 1 for word, salt in zip(words, _SALTS, strict=True))
