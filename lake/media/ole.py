"""The root of an OLE compound file, read in bounded time (MS-CFB 2.1 to 2.6).

Ingest asks every old Office file what it is, outside of the decoding child; ``olefile``, which builds the whole tree
and compares each stream with all before it, is no match for a directory made for that; it reads the rest, in the child.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

HEADER_BYTES = 512
ENTRY_BYTES = 128
HEADER_FAT_SECTORS = 109
"""Sectors of the allocation table that the header itself names; more are named by a chain of sectors."""
MAX_DIRECTORY_SECTORS = 2048
"""8,192 entries in sectors of 512 bytes, 65,536 in those of 4,096."""
MAX_HOPS = 256
"""Along the chain that names allocation sectors: 2 GB of 512-byte sectors, a terabyte of 4,096."""
LAST_SECTOR = 0xFFFFFFFA
"""Larger numbers are marks: end of chain, free."""
NO_ENTRY = 0xFFFFFFFF


def root_names(stream: BinaryIO) -> set[str]:
    """Names of the streams and storages in the root, lower case; as far as they can be read.

    Raises:
        struct.error: the file is cut off within its header or its directory.
    """
    stream.seek(0)
    header = stream.read(HEADER_BYTES)
    sector_bytes = 4096 if struct.unpack_from("<H", header, 30)[0] == 12 else 512
    directory = b"".join(_chain(stream, header, sector_bytes, struct.unpack_from("<I", header, 48)[0]))
    names: set[str] = set()
    visited: set[int] = set()
    to_visit = [struct.unpack_from("<I", directory, 76)[0]]
    # Siblings are a search tree: left and right of one entry are further children of the root.
    while to_visit:
        number = to_visit.pop()
        at = number * ENTRY_BYTES
        if number == NO_ENTRY or number in visited or at + ENTRY_BYTES > len(directory):
            continue
        visited.add(number)
        length = min(64, struct.unpack_from("<H", directory, at + 64)[0])
        names.add(directory[at : at + max(0, length - 2)].decode("utf-16-le", "replace").lower())
        to_visit += struct.unpack_from("<II", directory, at + 68)
    return names


def _chain(stream: BinaryIO, header: bytes, sector_bytes: int, sector: int) -> Iterator[bytes]:
    """Sectors of one chain; ends at a mark, at the end of the file or at the limit."""
    for _ in range(MAX_DIRECTORY_SECTORS):
        if sector > LAST_SECTOR:
            return
        content = _sector(stream, sector_bytes, sector)
        yield content
        if len(content) < sector_bytes:
            return
        sector = _next_sector(stream, header, sector_bytes, sector)


def _next_sector(stream: BinaryIO, header: bytes, sector_bytes: int, sector: int) -> int:
    index, place = divmod(sector, sector_bytes // 4)
    if index < HEADER_FAT_SECTORS:
        fat = struct.unpack_from("<I", header, 76 + 4 * index)[0]
    else:
        # Each sector of the chain names as many as fit but one, and last the sector that goes on.
        hops, within = divmod(index - HEADER_FAT_SECTORS, sector_bytes // 4 - 1)
        names = struct.unpack_from("<I", header, 68)[0]
        if hops > MAX_HOPS:
            return NO_ENTRY
        for _ in range(hops):
            names = _number(stream, sector_bytes, names, sector_bytes // 4 - 1)
        fat = _number(stream, sector_bytes, names, within)
    return _number(stream, sector_bytes, fat, place)


def _number(stream: BinaryIO, sector_bytes: int, sector: int, place: int) -> int:
    if sector > LAST_SECTOR:
        return NO_ENTRY
    stream.seek((sector + 1) * sector_bytes + 4 * place)
    return int(struct.unpack("<I", stream.read(4))[0])


def _sector(stream: BinaryIO, sector_bytes: int, sector: int) -> bytes:
    stream.seek((sector + 1) * sector_bytes)
    return stream.read(sector_bytes)
