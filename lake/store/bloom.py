"""Bloom filters as Parquet files have them: split blocks, XXH64 (parquet-format, BloomFilter.md). Pure; no Arrow.

Arrow writes them and does not look into them when it reads (pyarrow 26), so the lake does: a filter says of a text that
its row group surely does not have it, or that it may.
"""

from __future__ import annotations

import struct

_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_MASK = 2**64 - 1
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


def may_have(bits: memoryview, hashed: int) -> bool:
    """Whether a filter may have a value with this hash; False is certain."""
    blocks = len(bits) // BLOCK.size
    words = BLOCK.unpack_from(bits, ((hashed >> 32) * blocks >> 32) * BLOCK.size)
    low = hashed & 0xFFFFFFFF
    return all(word >> ((low * salt & 0xFFFFFFFF) >> 27) & 1 for word, salt in zip(words, _SALTS, strict=True))


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0, as the filters hash."""
    at = 0
    if len(data) >= 32:
        one, two, three, four = (_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK
        for a, b, c, d in struct.iter_unpack("<4Q", data[: len(data) // 32 * 32]):
            one, two, three, four = _round(one, a), _round(two, b), _round(three, c), _round(four, d)
        found = (_turned(one, 1) + _turned(two, 7) + _turned(three, 12) + _turned(four, 18)) & _MASK
        for each in (one, two, three, four):
            found = ((found ^ _round(0, each)) * _P1 + _P4) & _MASK
        at = len(data) // 32 * 32
    else:
        found = _P5
    found = (found + len(data)) & _MASK
    for (word,) in struct.iter_unpack("<Q", data[at : at + (len(data) - at) // 8 * 8]):
        found = (_turned(found ^ _round(0, word), 27) * _P1 + _P4) & _MASK
    at += (len(data) - at) // 8 * 8
    if len(data) - at >= 4:
        (half,) = struct.unpack_from("<I", data, at)
        found = (_turned(found ^ (half * _P1 & _MASK), 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        found = _turned(found ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    found = (found ^ found >> 33) * _P2 & _MASK
    found = (found ^ found >> 29) * _P3 & _MASK
    return found ^ found >> 32


def _round(sum_: int, word: int) -> int:
    return _turned((sum_ + word * _P2) & _MASK, 31) * _P1 & _MASK


def _turned(word: int, by: int) -> int:
    return (word << by | word >> (64 - by)) & _MASK
