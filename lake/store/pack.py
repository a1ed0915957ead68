"""The pack format, version 1: pure functions of bytes (docs/pack-format.md has a worked example).

    pack    = file header, frame*, footer, trailer
    header  = "PLPK" u16 version u16 0
    frame   = "PLFR" u32 payload length, u32 original size, u32 crc32c of payload, 32 bytes sha256 of the original,
              u8 codec, u8 n, u8 m, u8 0, u32 crc32c of all before and of the names; n bytes content type,
              m bytes device id; payload
    footer  = zlib of (name table, then per blob: 32 bytes sha256, u64 payload offset, u32 payload length,
              u32 original size, u32 crc32c, u8 codec, u16 content type, u16 device)
    trailer = u64 footer offset, u32 footer length, u32 crc32c of footer, u32 blobs, u16 version, u16 0, "PLPKEND1"

All numbers are little-endian. A pack is rebuilt from its footer, or from its frames when that is destroyed. The
checksum is CRC-32C (Castagnoli, RFC 3720 appendix B.4).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import google_crc32c
import msgpack

from lake.errors import IntegrityError

VERSION = 1
FILE_HEADER = struct.Struct("<4sHH")
FRAME = struct.Struct("<4sIII32sBBBB")
FRAME_CRC = struct.Struct("<I")
ENTRY = struct.Struct("<32sQIIIBHH")
TRAILER = struct.Struct("<QIIIHH8s")
FILE_MAGIC, FRAME_MAGIC, END_MAGIC = b"PLPK", b"PLFR", b"PLPKEND1"
FRAME_HEADER_BYTES = FRAME.size + FRAME_CRC.size
MAX_NAME_BYTES = 255
MAX_FOOTER_BYTES = 1 << 30

CODECS = {"raw": 0}
CODEC_NAMES = {number: name for name, number in CODECS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One blob of a pack: everything a ``BlobRef`` needs but the pack's own key."""

    sha256: str
    offset: int
    """Of the payload, from the start of the pack."""
    length: int
    size_bytes: int
    crc32c: int
    codec: str
    content_type: str
    device_id: str | None


def crc32c(data: bytes) -> int:
    """CRC-32C of bytes."""
    return int(google_crc32c.value(data))


def file_header() -> bytes:
    return FILE_HEADER.pack(FILE_MAGIC, VERSION, 0)


def frame_header(
    payload: bytes, size_bytes: int, sha256: str, codec: str, content_type: str, device: str | None
) -> bytes:
    """The bytes before a payload."""
    kind = content_type.encode()[:MAX_NAME_BYTES]
    name = (device or "").encode()[:MAX_NAME_BYTES]
    fixed = FRAME.pack(
        FRAME_MAGIC,
        len(payload),
        size_bytes,
        crc32c(payload),
        bytes.fromhex(sha256),
        CODECS[codec],
        len(kind),
        len(name),
        0,
    )
    return fixed + FRAME_CRC.pack(crc32c(fixed + kind + name)) + kind + name


def footer_and_trailer(entries: Sequence[Entry], footer_offset: int) -> bytes:
    """What ends a pack."""
    names: dict[str, int] = {}

    def number(name: str | None) -> int:
        return names.setdefault(name or "", len(names))

    records = b"".join(
        ENTRY.pack(
            bytes.fromhex(e.sha256), e.offset, e.length, e.size_bytes, e.crc32c, CODECS[e.codec],
            number(e.content_type), number(e.device_id),
        )
        for e in entries
    )  # fmt: skip
    footer = zlib.compress(msgpack.packb([list(names), records]), 6)
    trailer = TRAILER.pack(footer_offset, len(footer), crc32c(footer), len(entries), VERSION, 0, END_MAGIC)
    return footer + trailer


def parse_trailer(data: bytes, pack_size_bytes: int) -> tuple[int, int, int]:
    """(footer offset, footer length, crc) from a pack's last bytes; ``IntegrityError`` when they are no trailer."""
    if len(data) < TRAILER.size:
        raise IntegrityError("pack has no trailer: it is cut off")
    offset, length, crc, _, version, _, magic = TRAILER.unpack(data[-TRAILER.size :])
    if magic != END_MAGIC or offset + length + TRAILER.size != pack_size_bytes or length > MAX_FOOTER_BYTES:
        raise IntegrityError("pack has no trailer: it is cut off or damaged at its end")
    if version != VERSION:
        raise IntegrityError(f"pack is of format version {version}, this lake reads {VERSION}")
    return offset, length, crc


def parse_footer(data: bytes, crc: int) -> list[Entry]:
    """Entries of a footer; ``IntegrityError`` when it is not what was written."""
    if crc32c(data) != crc:
        raise IntegrityError("pack footer is damaged: its checksum differs")
    try:
        names, records = msgpack.unpackb(zlib.decompress(data))
        return [_entry(fields, names) for fields in ENTRY.iter_unpack(records)]
    except (zlib.error, ValueError, struct.error, IndexError, KeyError, TypeError) as error:
        raise IntegrityError(f"pack footer is damaged: {error}") from error


def _entry(fields: tuple[bytes, int, int, int, int, int, int, int], names: list[str]) -> Entry:
    sha256, offset, length, size_bytes, crc, codec, kind, device = fields
    return Entry(sha256.hex(), offset, length, size_bytes, crc, CODEC_NAMES[codec], names[kind], names[device] or None)


def parse_frame(data: bytes, at: int, base: int = 0) -> Entry | None:
    """The frame header at a position of a buffer that starts ``base`` bytes into the pack; None when there is none."""
    if data[at : at + 4] != FRAME_MAGIC or len(data) < at + FRAME_HEADER_BYTES:
        return None
    fixed = data[at : at + FRAME.size]
    _, length, size_bytes, crc, sha256, codec, kind_length, device_length, _ = FRAME.unpack(fixed)
    names_at = at + FRAME_HEADER_BYTES
    names = data[names_at : names_at + kind_length + device_length]
    (header_crc,) = FRAME_CRC.unpack(data[at + FRAME.size : names_at])
    if crc32c(fixed + names) != header_crc or codec not in CODEC_NAMES:
        return None
    payload_at = base + names_at + kind_length + device_length
    kind, device = names[:kind_length].decode(), names[kind_length:].decode()
    return Entry(sha256.hex(), payload_at, length, size_bytes, crc, CODEC_NAMES[codec], kind, device or None)


def scan_frames(data: bytes, base: int = 0) -> Iterator[Entry]:
    """Every whole frame header in a buffer, also past damaged ones: what an index is rebuilt from."""
    at = data.find(FRAME_MAGIC)
    while at >= 0:
        entry = parse_frame(data, at, base)
        if entry is not None:
            yield entry
        # Not past the payload: a damaged length must not hide the frames behind it. A payload that is a pack itself
        # is told apart by whoever reads the payloads of overlapping entries; see lake.store.index.
        at = data.find(FRAME_MAGIC, at + 4)


def decoded(payload: bytes, codec: str) -> bytes:
    """The original bytes of a payload."""
    if codec == "raw":
        return payload
    raise IntegrityError(f"unknown codec {codec!r}: written by a newer lake")
