"""The header of a movie (ISO 14496-12) without its tables of samples: a few KiB instead of megabytes.

An hour of video has some hundred thousand samples, and ``moov`` has their sizes, places and times; what a movie says of
itself is in the other boxes. FFmpeg reads all tables and then samples until it knows the pixel format. Given a movie of
the other boxes alone it finds the same facts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

NESTED = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
SAMPLE_TABLES = (
    *(b"stsz", b"stz2", b"stco", b"co64", b"stsc", b"stss", b"ctts", b"cslg", b"sdtp"),
    *(b"sbgp", b"sgpd", b"saiz", b"saio", b"subs", b"stdp", b"padb", b"stps"),
)
MAX_BOX_BYTES = 16 * 1024
"""Larger boxes are pictures, subtitles or padding: left out."""
MAX_HEADER_BYTES = 96 * 1024
MAX_BOXES = 10_000
FRAGMENTED = (b"mvex", b"cmov")
"""In ``moov``: the times are beside the samples; the header is compressed."""


class Box(NamedTuple):
    """One box: where it begins, where its content does, and where it ends."""

    kind: bytes
    at: int
    content_at: int
    end: int


def movie_header(stream: BinaryIO, size_bytes: int) -> bytes | None:
    """A movie with the facts of this one and no samples.

    None where that cannot be had: no header, one in fragments (their times are beside the samples) or an odd one.
    """
    top = {box.kind: box for box in boxes_between(stream, 0, size_bytes)}
    if b"moov" not in top or b"moof" in top:
        return None
    try:
        moov = _Copy(stream).nested(top[b"moov"])
        ftyp = _Copy(stream).leaf(top[b"ftyp"]) if b"ftyp" in top else b""
    except _Odd:
        return None
    return ftyp + moov


class _Odd(Exception):
    """This header is no case for a copy."""


class _Copy:
    """Copies boxes; counts what it has copied."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.left_bytes = MAX_HEADER_BYTES
        self.left_boxes = MAX_BOXES
        self.duration = 0
        """Of the track that is being copied, in its own units."""

    def nested(self, box: Box, depth: int = 0) -> bytes:
        """A box of boxes, without tables of samples and without what is large."""
        content = []
        inner = list(boxes_between(self.stream, box.content_at, box.end))
        self.left_boxes -= len(inner)
        if self.left_boxes <= 0 or depth > len(NESTED):
            raise _Odd
        if any(each.kind in FRAGMENTED or (each.kind == b"stsd" and _is_large(each)) for each in inner):
            raise _Odd
        for each in inner:
            if each.kind in NESTED:
                content.append(self.nested(each, depth + 1))
            elif each.kind == b"mdhd":
                content.append(self._media_header(each))
            elif each.kind == b"stts" and _is_large(each):
                content.append(self._times(inner))
            elif each.kind not in SAMPLE_TABLES and not _is_large(each):
                content.append(self.leaf(each))
        return _box(box.kind, b"".join(content))

    def leaf(self, box: Box) -> bytes:
        return _box(box.kind, self._read(box.content_at, box.end - box.content_at))

    def _media_header(self, box: Box) -> bytes:
        content = self._read(box.content_at, min(box.end - box.content_at, MAX_BOX_BYTES))
        form, at = (">Q", 24) if content[:1] == b"\1" else (">I", 16)
        (self.duration,) = _numbers(form, content, at)
        return _box(box.kind, content)

    def _times(self, tables: list[Box]) -> bytes:
        """A large table of the samples' durations: one with the same number and sum, which FFmpeg makes the rate of."""
        sizes = next((box for box in tables if box.kind in (b"stsz", b"stz2")), None)
        if sizes is None:
            raise _Odd
        (samples,) = _numbers(">I", self._read(sizes.content_at, 12), 8)
        if not samples:
            raise _Odd
        each, rest = divmod(self.duration, samples)
        return _box(b"stts", struct.pack(">IIIIII", 0, 2, samples - rest, each, rest, each + 1))

    def _read(self, at: int, length: int) -> bytes:
        self.left_bytes -= length
        if self.left_bytes < 0:
            raise _Odd
        self.stream.seek(at)
        return self.stream.read(length)


def boxes_between(stream: BinaryIO, at: int, end: int) -> Iterator[Box]:
    """The boxes from a place to another, as far as their lengths make sense."""
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        stream.seek(at)
        head = stream.read(16)
        length, content_at = struct.unpack_from(">I", head)[0], at + 8
        if length == 1 and len(head) == 16:
            length, content_at = struct.unpack_from(">Q", head, 8)[0], at + 16
        elif length == 0:
            length = end - at
        if at + length < content_at:
            return
        yield Box(head[4:8], at, content_at, at + length)
        at += length


def _is_large(box: Box) -> bool:
    return box.end - box.content_at > MAX_BOX_BYTES


def _numbers(form: str, content: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, content, at)
    except struct.error as error:
        raise _Odd from error


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content
