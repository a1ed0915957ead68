"""OLE compound files by hand (MS-CFB), of any shape, sound or not."""

from __future__ import annotations

import struct
from collections.abc import Sequence

FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
SECTOR = 512


def entry(name: str, *, left: int = FREE, right: int = FREE, child: int = FREE, kind: int = 2) -> bytes:
    """One entry of the directory; ``kind`` is 5 for the root, 1 for a storage, 2 for a stream."""
    text = name.encode("utf-16-le") + b"\0\0"
    head = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text), kind, 1, left, right, child)
    return head + bytes(16 + 4 + 8 + 8) + struct.pack("<IQ", END, 0)


def compound(entries: Sequence[bytes], *, loop: bool = False, padding_sectors: int = 0) -> bytes:
    """A compound file of these entries; ``loop`` chains its directory to its own start.

    ``padding_sectors`` lie before the directory: from 14,000 on the header no longer names all of its table.
    """
    per_sector = SECTOR // 4
    body = b"".join(entries)
    body += bytes(-len(body) % SECTOR)
    count = len(body) // SECTOR
    fat_sectors, more_sectors = 1, 0
    while True:
        total = padding_sectors + count + fat_sectors + more_sectors
        needed = -(-total // per_sector)
        more = max(0, -(-(needed - 109) // (per_sector - 1)))
        if (needed, more) == (fat_sectors, more_sectors):
            break
        fat_sectors, more_sectors = needed, more
    first = padding_sectors
    chain = [FREE] * padding_sectors + [*range(first + 1, first + count), first if loop else END]
    chain += [FAT] * (fat_sectors + more_sectors)
    chain += [FREE] * (fat_sectors * per_sector - len(chain))
    named = list(range(first + count, first + count + fat_sectors))
    more_at = first + count + fat_sectors
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        0x3E,
        3,
        0xFFFE,
        9,
        6,
        0,
        fat_sectors,
        first,
        0,
        4096,
        END,
        0,
        more_at if more_sectors else END,
        more_sectors,
    )
    header += struct.pack("<109I", *(named[:109] + [FREE] * (109 - len(named[:109]))))
    rest, tables = named[109:], b""
    for number in range(more_sectors):
        part = rest[number * (per_sector - 1) : (number + 1) * (per_sector - 1)]
        part += [FREE] * (per_sector - 1 - len(part))
        tables += struct.pack(f"<{per_sector}I", *part, more_at + number + 1 if number + 1 < more_sectors else END)
    return header + bytes(padding_sectors * SECTOR) + body + struct.pack(f"<{len(chain)}I", *chain) + tables
