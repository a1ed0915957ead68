"""How contents are stored: as they are, or compressed without loss where that pays. Pure.

A codec is a module with ``encode(source, sink, dictionary) -> bool`` and ``decode(source, dictionary) -> pieces``. What
a codec gave is used only after it was decoded again and compared (docs/decisions/0013).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple, Protocol

from lake.errors import IntegrityError
from lake.store import flac, zstd

RAW, STORED = "raw", "stored"
"""The original: as it came, and where compression was tried and did not pay."""
DICTIONARY = "dictionary"
"""Not a content: what the texts of its pack are compressed with."""
UNCHANGED = frozenset([RAW, STORED, DICTIONARY])
"""Codecs whose payload is the original."""
PAYS_BELOW = 0.9
"""Of the original's size: what saves less is not worth the time of each reading."""

WAVE_TYPES = frozenset(["audio/wav", "audio/x-wav", "audio/vnd.wave"])
COMPRESSED_TYPES = frozenset(
    [
        *(f"image/{name}" for name in ("jpeg", "png", "gif", "webp", "heic", "heif", "avif", "jp2", "jxl")),
        *(f"application/{name}" for name in ("zip", "gzip", "x-gzip", "x-bzip2", "x-xz", "zstd", "x-7z-compressed")),
        *(f"application/{name}" for name in ("vnd.rar", "x-rar", "epub+zip", "ogg", "vnd.apache.parquet", "x-hdf5")),
    ]
)
COMPRESSED_BEGINNINGS = (
    "video/",
    "audio/",
    "application/vnd.openxmlformats-officedocument.",
    "application/vnd.oasis.opendocument.",
)
TEXT_TYPES = frozenset(f"application/{name}" for name in ("json", "xml", "rtf", "x-ndjson", "mbox", "javascript"))


class Codec(Protocol):
    """What a module of a codec offers."""

    NAME: str

    def encode(self, source: BinaryIO, sink: BinaryIO, dictionary: bytes | None = None) -> bool:
        """Write the source's content compressed; False where this codec does not hold it."""
        ...

    def decode(self, source: BinaryIO, dictionary: Callable[[], bytes]) -> Iterator[bytes]:
        """The content in pieces, from what ``encode`` wrote; ``IntegrityError`` where it is something else."""
        ...


_CODECS: tuple[Codec, ...] = (flac, zstd)
CODECS = {codec.NAME: codec for codec in _CODECS}


def codec_of(name: str) -> Codec:
    """The codec of this name; ``IntegrityError`` when a newer lake wrote it."""
    if name not in CODECS:
        raise IntegrityError(f"unknown codec {name!r}: written by a newer lake")
    return CODECS[name]


def is_compressible(content_type: str) -> bool:
    """Whether compression is tried: not on what is compressed already."""
    kind = content_type.partition(";")[0]
    return kind in WAVE_TYPES or not (kind in COMPRESSED_TYPES or kind.startswith(COMPRESSED_BEGINNINGS))


def is_text(content_type: str) -> bool:
    """Whether contents of a type have so much in common that a dictionary helps."""
    kind = content_type.partition(";")[0]
    return kind.startswith(("text/", "message/")) or kind in TEXT_TYPES or kind.endswith(("+xml", "+json"))


class Encoded(NamedTuple):
    """A content as it is to be stored."""

    codec: str
    payload: bytes


def as_it_is(data: bytes, content_type: str, dictionary: bytes | None = None) -> Encoded:
    """A content that compression was not tried on."""
    return Encoded(RAW, data)


def encoded(data: bytes, content_type: str, dictionary: bytes | None = None) -> Encoded:
    """A content compressed and proven to come back, or as it is where that does not pay."""
    helping = dictionary if is_text(content_type) else None
    for codec in codecs_for(content_type):
        sink = io.BytesIO()
        if codec.encode(io.BytesIO(data), sink, helping) and sink.tell() < PAYS_BELOW * len(data):
            payload = sink.getvalue()
            if decoded(payload, codec.NAME, len(data), lambda: helping or b"") == data:
                return Encoded(codec.NAME, payload)
    return Encoded(STORED, data)


def codecs_for(content_type: str) -> Sequence[Codec]:
    """What is tried on contents of a type, best first; nothing on what is compressed already."""
    if not is_compressible(content_type):
        return ()
    return (flac, zstd) if content_type.partition(";")[0] in WAVE_TYPES else (zstd,)


def decoded(payload: bytes, codec: str, size_bytes: int, dictionary: Callable[[], bytes]) -> bytes:
    """The original bytes of a payload, never more than there were.

    Raises:
        IntegrityError: the payload is not what was written.
    """
    if codec in UNCHANGED:
        return payload
    return b"".join(pieces(io.BytesIO(payload), codec, size_bytes, dictionary))


def pieces(source: BinaryIO, codec: str, size_bytes: int, dictionary: Callable[[], bytes]) -> Iterator[bytes]:
    """The same of any length, piece by piece."""
    left = size_bytes
    for piece in codec_of(codec).decode(source, dictionary):
        left -= len(piece)
        if left < 0:
            raise IntegrityError("a payload that holds more than its content")
        yield piece


def no_dictionary() -> bytes:
    """For what lies in no pack."""
    raise IntegrityError("a payload that names a dictionary and lies in no pack")
