"""The pack format, version 1: pure functions of bytes (docs/pack-format.md has a worked example).

    pack    = file header, frame*, footer, trailer
    header  = "PLPK" u16 version u16 0
    frame   = "PLFR" u32 payload length, u32 original size, u32 crc32c of payload, 32 bytes sha256 of the original,
              u8 codec, u8 n, u8 m, u8 0, u32 crc32c of (u64 place of this frame in the pack, all before, the names);
              n bytes content type, m bytes device id; payload
    footer  = zlib of msgpack [names, records]; a record is 32 bytes sha256, u64 payload offset, u32 payload length,
              u32 original size, u32 crc32c, u8 codec, u16 content type, u16 device (numbers in names)
    trailer = u64 footer offset, u32 footer length, u32 crc32c of footer, u32 blobs, u16 version, u16 0, "PLPKEND1"

All numbers are little-endian. A pack is rebuilt from its footer, or from its frames when that is destroyed. The
checksum is CRC-32C (Castagnoli, RFC 3720 appendix B.4).
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import google_crc32c
import msgpack

from lake.errors import IntegrityError

VERSION = 1
FILE_HEADER = struct.Struct("<4sHH")
FRAME = struct.Struct("<4sIII32sBBBB")
FRAME_CRC = struct.Struct("<I")
PLACE = struct.Struct("<Q")
ENTRY = struct.Struct("<32sQIIIBHH")
TRAILER = struct.Struct("<QIIIHH8s")
FILE_MAGIC, FRAME_MAGIC, END_MAGIC = b"PLPK", b"PLFR", b"PLPKEND1"
FRAME_HEADER_BYTES = FRAME.size + FRAME_CRC.size
MAX_NAME_BYTES = 255
MAX_FRAME_HEADER_BYTES = FRAME_HEADER_BYTES + 2 * MAX_NAME_BYTES
MAX_BLOBS = 32_000
"""In one pack: its two names a blob still have numbers of 16 bits, and its footer stays below 2 MB."""
MAX_PAYLOAD_BYTES = (1 << 32) - 1
MAX_FOOTER_BYTES = 1 << 30

DICTIONARY_TYPE = "application/vnd.zstd.dictionary"

CODECS = {"raw": 0, "flac": 1, "zstd": 2, "dictionary": 3, "stored": 4}
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


class Trailer(NamedTuple):
    """What a pack's last bytes say of its footer."""

    footer_offset: int
    footer_length: int
    crc32c: int
    blobs: int


def crc32c(data: bytes) -> int:
    """CRC-32C of bytes."""
    return int(google_crc32c.value(data))


DICTIONARY_FRAME_BYTES = FRAME_HEADER_BYTES + len(DICTIONARY_TYPE)
"""Before the dictionary of a pack, which is its first frame."""


def file_header() -> bytes:
    return FILE_HEADER.pack(FILE_MAGIC, VERSION, 0)


@functools.lru_cache(4096)
def short_name(name: str | None) -> str | None:
    """A name as a pack holds it: at most 255 bytes of UTF-8, whole characters; the empty one is no name."""
    encoded = (name or "").encode("utf-8", "replace")[:MAX_NAME_BYTES]
    return encoded.decode("utf-8", "ignore") or None


def frame_header(
    at: int, length: int, crc: int, size_bytes: int, sha256: str, codec: str, content_type: str, device: str | None
) -> bytes:
    """The bytes before a payload of this length and CRC-32C, for a frame that begins ``at`` bytes into the pack."""
    kind = (short_name(content_type) or "").encode()
    name = (short_name(device) or "").encode()
    fixed = FRAME.pack(
        FRAME_MAGIC,
        length,
        size_bytes,
        crc,
        bytes.fromhex(sha256),
        CODECS[codec],
        len(kind),
        len(name),
        0,
    )
    return fixed + FRAME_CRC.pack(_frame_crc(at, fixed, kind + name)) + kind + name


def _frame_crc(at: int, fixed: bytes, names: bytes) -> int:
    """Checksum of a frame header and of its place: the frames of a pack that is stored as a blob are none of ours."""
    return crc32c(PLACE.pack(at) + fixed + names)


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


def parse_file_header(data: bytes) -> None:
    """``IntegrityError`` when the first bytes of an object are not those of a pack this lake reads."""
    if len(data) < FILE_HEADER.size or data[:4] != FILE_MAGIC:
        raise IntegrityError("no pack: its first bytes are damaged or another format's")
    _, version, _ = FILE_HEADER.unpack(data[: FILE_HEADER.size])
    _require_version(version)


def parse_trailer(data: bytes, pack_size_bytes: int) -> Trailer:
    """The trailer in a pack's last bytes; ``IntegrityError`` when they hold none."""
    if len(data) < TRAILER.size:
        raise IntegrityError("pack has no trailer: it is cut off")
    offset, length, crc, blobs, version, _, magic = TRAILER.unpack(data[-TRAILER.size :])
    if magic != END_MAGIC or offset + length + TRAILER.size != pack_size_bytes or length > MAX_FOOTER_BYTES:
        raise IntegrityError("pack has no trailer: it is cut off or damaged at its end")
    _require_version(version)
    return Trailer(offset, length, crc, blobs)


def parse_footer(data: bytes, trailer: Trailer) -> list[Entry]:
    """Entries of a footer; ``IntegrityError`` when it is not what was written."""
    if crc32c(data) != trailer.crc32c:
        raise IntegrityError("pack footer is damaged: its checksum differs")
    try:
        names, records = msgpack.unpackb(zlib.decompress(data))
        entries = [_entry(fields, names) for fields in ENTRY.iter_unpack(records)]
    except (zlib.error, msgpack.UnpackException, ValueError, struct.error, LookupError, TypeError) as error:
        raise IntegrityError(f"pack footer is damaged: {error}") from error
    if len(entries) != trailer.blobs or any(e.offset + e.length > trailer.footer_offset for e in entries):
        raise IntegrityError("pack footer is damaged: it names blobs that the pack cannot hold")
    return entries


def _entry(fields: tuple[bytes, int, int, int, int, int, int, int], names: list[str]) -> Entry:
    sha256, offset, length, size_bytes, crc, codec, kind, device = fields
    return Entry(sha256.hex(), offset, length, size_bytes, crc, CODEC_NAMES[codec], names[kind], names[device] or None)


def _require_version(version: int) -> None:
    if version != VERSION:
        raise IntegrityError(f"pack is of format version {version}, this lake reads {VERSION}")


def parse_frame(data: bytes, at: int) -> Entry | None:
    """The frame whose header these bytes begin with, ``at`` bytes into the pack; None when they are no header."""
    if data[:4] != FRAME_MAGIC or len(data) < FRAME_HEADER_BYTES:
        return None
    fixed = data[: FRAME.size]
    _, length, size_bytes, crc, sha256, codec, kind_length, device_length, _ = FRAME.unpack(fixed)
    names = data[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + kind_length + device_length]
    (header_crc,) = FRAME_CRC.unpack(data[FRAME.size : FRAME_HEADER_BYTES])
    if _frame_crc(at, fixed, names) != header_crc or codec not in CODEC_NAMES:
        return None
    try:
        kind, device = names[:kind_length].decode(), names[kind_length:].decode()
    except UnicodeDecodeError:
        return None
    offset = at + FRAME_HEADER_BYTES + len(names)
    return Entry(sha256.hex(), offset, length, size_bytes, crc, CODEC_NAMES[codec], kind, device or None)
