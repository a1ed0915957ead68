"""Signatures of content types at fixed places, and of streams without a header.

Sources: the format specifications; offsets as in PRONOM and in the ``magic`` files of file(1), written down anew.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from lake.model import MediaKind, Sniffed

SIGNATURES: tuple[tuple[int, bytes, str, MediaKind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png", "image"),
    (0, b"\xff\xd8\xff", "image/jpeg", "image"),
    (0, b"GIF87a", "image/gif", "image"),
    (0, b"GIF89a", "image/gif", "image"),
    (0, b"II*\x00", "image/tiff", "image"),
    (0, b"MM\x00*", "image/tiff", "image"),
    (0, b"II+\x00", "image/tiff", "image"),
    (0, b"MM\x00+", "image/tiff", "image"),
    (0, b"8BPS\x00\x01", "image/vnd.adobe.photoshop", "image"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2", "image"),
    (0, b"\xff\x4f\xff\x51", "image/x-jp2-codestream", "image"),
    (0, b"fLaC", "audio/flac", "audio"),
    (0, b"#!AMR", "audio/amr", "audio"),
    (0, b".snd", "audio/basic", "audio"),
    (0, b"MThd", "audio/midi", "audio"),
    (0, b"ID3", "audio/mpeg", "audio"),
    (0, b"FLV\x01", "video/x-flv", "video"),
    (0, b"\x00\x00\x01\xba", "video/mpeg", "video"),
    (0, b"\x00\x00\x01\xb3", "video/mpeg", "video"),
    (0, b"%PDF-", "application/pdf", "document"),
    (0, b"{\\rtf", "application/rtf", "document"),
    (0, b"{\\pard ", "application/rtf", "document"),
    (0, b"\xdb\xa5\x2d\x00", "application/msword", "document"),
    (0, b"\x09\x00\x04\x00", "application/vnd.ms-excel", "document"),
    (0, b"\x09\x02\x06\x00", "application/vnd.ms-excel", "document"),
    (0, b"\x09\x04\x06\x00", "application/vnd.ms-excel", "document"),
    (0, b"PAR1", "application/vnd.apache.parquet", "table"),
    (0, b"\x1f\x8b\x08", "application/gzip", "other"),
    (0, b"BZh", "application/x-bzip2", "other"),
    (0, b"\xfd7zXZ\x00", "application/x-xz", "other"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd", "other"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed", "other"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar", "other"),
    (0, b"\x7fELF", "application/x-elf", "other"),
    (0, b"MZ", "application/vnd.microsoft.portable-executable", "other"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3", "other"),
    (257, b"ustar", "application/x-tar", "other"),
)
"""(offset, bytes, content type, media kind); the first that fits wins."""

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
EBML = b"\x1a\x45\xdf\xa3"

ISO_BRANDS: dict[bytes, tuple[str, MediaKind]] = {
    b"qt  ": ("video/quicktime", "video"),
    b"M4A ": ("audio/x-m4a", "audio"),
    b"M4B ": ("audio/x-m4a", "audio"),
    b"avif": ("image/avif", "image"),
    b"avis": ("image/avif", "image"),
    b"heic": ("image/heic", "image"),
    b"heix": ("image/heic", "image"),
    b"mif1": ("image/heif", "image"),
    b"msf1": ("image/heif", "image"),
}

RIFF_FORMS: dict[bytes, tuple[str, MediaKind]] = {
    b"WAVE": ("audio/x-wav", "audio"),
    b"AVI ": ("video/x-msvideo", "video"),
    b"WEBP": ("image/webp", "image"),
}


def by_signature(head: bytes) -> Sniffed | None:
    """What bytes at fixed places say; None when they say nothing."""
    for offset, magic, content_type, kind in SIGNATURES:
        if head.startswith(magic, offset):
            return Sniffed(content_type, kind)
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] in RIFF_FORMS:
        return Sniffed(*RIFF_FORMS[head[8:12]])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return Sniffed("audio/x-aiff", "audio")
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return _iso(head)
    if head.startswith(b"OggS"):
        return _ogg(head)
    if head.startswith(EBML):
        webm = b"webm" in head[:64]
        return Sniffed("video/webm" if webm else "video/x-matroska", "video")
    if head.startswith(ASF):
        return Sniffed("video/x-ms-asf", "video")
    if (
        head.startswith(b"BM")
        and len(head) >= 26
        and struct.unpack_from("<I", head, 14)[0] in (12, 40, 52, 56, 108, 124)
    ):
        return Sniffed("image/bmp", "image")
    return _netpbm(head) or _mpeg(head)


def _iso(head: bytes) -> Sniffed:
    """ISO base media and its ancestor QuickTime; the major brand decides, then the compatible ones."""
    if head[4:8] != b"ftyp":
        return Sniffed("video/quicktime", "video")
    size = min(max(struct.unpack_from(">I", head)[0], 16), 256)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, size, 4))]
    if brands[0] in (b"3gp4", b"3gp5", b"3gp6", b"3gp7", b"3ge6", b"3gg6"):
        return Sniffed("video/3gpp", "video")
    for brand in brands[:1] if brands[0] not in (b"mif1", b"msf1") else [b"", *brands[1:], brands[0]]:
        if brand in ISO_BRANDS:
            return Sniffed(*ISO_BRANDS[brand])
    return Sniffed("video/mp4", "video")


def _ogg(head: bytes) -> Sniffed:
    """Ogg: the first packets of its streams name their codecs."""
    start = head[:4096]
    if b"\x80theora" in start or b"BBCD\x00" in start:
        return Sniffed("video/ogg", "video")
    return Sniffed("audio/ogg", "audio")


def _netpbm(head: bytes) -> Sniffed | None:
    if re.match(rb"P[1-6][ \t\r\n](?:\s*#[^\n]*\n)*\s*\d+\s+(?:#[^\n]*\n\s*)*\d+\s", head[:512]) is None:
        return None
    name = {"1": "bitmap", "2": "graymap", "3": "pixmap"}[chr(head[1] - 3 if head[1] > ord("3") else head[1])]
    return Sniffed(f"image/x-portable-{name}", "image")


def _mpeg(head: bytes) -> Sniffed | None:
    """Streams of packets without a header: transport streams, ADTS and MPEG audio, by several packets in a row."""
    if len(head) >= 189 and all(head[at] == 0x47 for at in range(0, min(len(head), 188 * 5), 188)):
        return Sniffed("video/mp2t", "video")
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0 and _frames_follow(head, _adts_bytes):
        return Sniffed("audio/aac", "audio")
    if head[1] & 0xE0 == 0xE0 and _frames_follow(head, _mpeg_audio_bytes):
        return Sniffed("audio/mpeg", "audio")
    return None


def _frames_follow(head: bytes, length_at: Callable[[bytes, int], int]) -> bool:
    at, frames = 0, 0
    while at + 7 <= len(head) and frames < 4:
        length = length_at(head, at)
        if length <= 0:
            return False
        at, frames = at + length, frames + 1
    return frames >= 2


def _adts_bytes(head: bytes, at: int) -> int:
    """Length of the ADTS frame at a place (ISO 13818-7, 6.2), 0 when there is none."""
    if head[at] != 0xFF or head[at + 1] & 0xF6 != 0xF0:
        return 0
    return ((head[at + 3] & 3) << 11) | (head[at + 4] << 3) | (head[at + 5] >> 5)


_KBITS = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by (MPEG version 1 or 2, layer) and index (ISO 11172-3 and 13818-3, table of bitrates)."""


def _mpeg_audio_bytes(head: bytes, at: int) -> int:
    """Length of the MPEG audio frame at a place, 0 when there is none."""
    if head[at] != 0xFF or head[at + 1] & 0xE0 != 0xE0:
        return 0
    version_bits, layer_bits = (head[at + 1] >> 3) & 3, (head[at + 1] >> 1) & 3
    bitrate, rate = head[at + 2] >> 4, (head[at + 2] >> 2) & 3
    if version_bits == 1 or layer_bits == 0 or bitrate in (0, 15) or rate == 3:
        return 0
    layer, version = 4 - layer_bits, 1 if version_bits == 3 else 2
    hertz = (44100, 48000, 32000)[rate] // {3: 1, 2: 2, 0: 4}[version_bits]
    bits = _KBITS[version, layer][bitrate] * 1000
    padding = (head[at + 2] >> 1) & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version == 2 else 144) * bits // hertz + padding
