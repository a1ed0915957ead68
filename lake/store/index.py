"""Which blobs the store holds, told by its objects alone: what the table ``blobs`` is rebuilt from.

A pack is read by its footer; where footer or trailer is destroyed, by its frames, whose payloads are verified. A large
blob is read by the description beside it; where that is destroyed, by its own bytes. Memory is bounded by the entries
of one pack and a window of ``CHUNK_BYTES``. No Spark, no tables.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import google_crc32c

from lake.errors import AccessDenied, IntegrityError, NotFound, StoreError
from lake.model import BlobRef
from lake.store import pack
from lake.store.about import SUFFIX, about_key, parse_about
from lake.store.codec import DICTIONARY, RAW, UNCHANGED, codec_of, no_dictionary
from lake.store.objects import ObjectInfo, ObjectStore
from lake.store.reader import open_object, read_dictionary, verified
from lake.store.writer import blob_ref

CHUNK_BYTES = 4 * 1024 * 1024
TAIL_BYTES = 256 * 1024
"""Read from a pack's end at once: the trailer and, of most packs, the whole footer."""
UNKNOWN_TYPE = "application/octet-stream"

_LARGE_KEY = re.compile(r"blobs/([0-9a-f]{2})/(\1[0-9a-f]{62})(?:\.([a-z]+))?")


@dataclass
class ObjectIndex:
    """The blobs of one object of the store."""

    key: str
    way: Literal["footer", "frames", "about", "content", "none"]
    """How it was read: a pack by footer or frames, a large blob by its description or content; or not at all."""
    blobs: list[tuple[BlobRef, str | None]] = field(default_factory=list)
    """Each with the id of its device."""
    findings: list[str] = field(default_factory=list)
    """What is damaged or lost in it, a line each."""


def read_index(store: ObjectStore) -> Iterator[ObjectIndex]:
    """The index of every pack and every large blob. What is damaged is a finding; a dead store raises."""
    for entry in store.list("packs"):
        yield _guarded(store, entry, index_pack)
    for entry in store.list("blobs"):
        if not entry.key.endswith(SUFFIX):
            yield _guarded(store, entry, index_large)


def _guarded(
    store: ObjectStore, entry: ObjectInfo, index: Callable[[ObjectStore, ObjectInfo], ObjectIndex]
) -> ObjectIndex:
    try:
        return index(store, entry)
    except StoreError as error:
        if error.retryable or isinstance(error, AccessDenied):
            raise
        return ObjectIndex(entry.key, "none", [], [f"{entry.key} cannot be read: {error}"])


def index_pack(store: ObjectStore, entry: ObjectInfo) -> ObjectIndex:
    """The blobs of one pack."""
    try:
        entries = [each for each in read_footer(store, entry) if each.codec != DICTIONARY]
        return ObjectIndex(entry.key, "footer", [(blob_ref(entry.key, each), each.device_id) for each in entries])
    except IntegrityError as error:
        found = _by_frames(Window(store, entry), _footer_offset(store, entry))
        if found.way == "none":
            found.findings.append(f"{entry.key}: no blob can be found in it: {error}")
        return found


def read_footer(store: ObjectStore, entry: ObjectInfo) -> list[pack.Entry]:
    """What a pack's footer says, in one request, rarely two; ``IntegrityError`` when it is destroyed."""
    tail_at = max(0, entry.size_bytes - TAIL_BYTES)
    tail = store.get_range(entry.key, tail_at, entry.size_bytes - tail_at)
    trailer = pack.parse_trailer(tail, entry.size_bytes)
    at, length = trailer.footer_offset, trailer.footer_length
    footer = tail[at - tail_at :][:length] if at >= tail_at else store.get_range(entry.key, at, length)
    return pack.parse_footer(footer, trailer)


def _footer_offset(store: ObjectStore, entry: ObjectInfo) -> int | None:
    """Where the frames end, as far as the trailer still says so."""
    tail_at = max(0, entry.size_bytes - pack.TRAILER.size)
    try:
        tail = store.get_range(entry.key, tail_at, entry.size_bytes - tail_at)
        return pack.parse_trailer(tail, entry.size_bytes).footer_offset
    except IntegrityError:
        return None


def index_large(store: ObjectStore, entry: ObjectInfo) -> ObjectIndex:
    """The one blob of a large blob's object."""
    named = _LARGE_KEY.fullmatch(entry.key)
    if named is None:
        return ObjectIndex(entry.key, "none", [], [f"{entry.key} is no key of a blob: it is not looked at"])
    try:
        ref, device_id = parse_about(store.get(about_key(entry.key)), entry.key)
        if (ref.sha256, ref.length, ref.codec if named[3] else None) == (named[2], entry.size_bytes, named[3]):
            return ObjectIndex(entry.key, "about", [(ref, device_id)])
    except (IntegrityError, NotFound):
        pass
    try:
        crc, size_bytes = large_checksums(store, entry, named[2], named[3] or RAW)
    except IntegrityError:
        return ObjectIndex(entry.key, "none", [], [f"{entry.key} is not what was written"])
    ref = BlobRef(named[2], size_bytes, entry.key, 0, entry.size_bytes, named[3] or RAW, crc, UNKNOWN_TYPE)
    lost = f"{about_key(entry.key)} is lost or damaged: type and device of this blob are not known any more"
    return ObjectIndex(entry.key, "content", [(ref, None)], [lost])


def large_checksums(store: ObjectStore, entry: ObjectInfo, sha256: str, codec: str) -> tuple[int, int]:
    """CRC-32C of what lies under a large blob's key, and the size of its content, of any length.

    Raises:
        IntegrityError: the content is another one.
    """
    crc, found = Window(store, entry).checksums(0, entry.size_bytes)
    size_bytes = entry.size_bytes
    if codec != RAW:
        verified, size_bytes = hashlib.sha256(), 0
        for piece in codec_of(codec).decode(open_object(store, entry.key, entry.size_bytes), no_dictionary):
            verified.update(piece)
            size_bytes += len(piece)
        found = verified.hexdigest()
    if found != sha256:
        raise IntegrityError(f"blob {sha256} is not what was written")
    return crc, size_bytes


def _by_frames(window: Window, footer_offset: int | None) -> ObjectIndex:
    found = ObjectIndex(window.key, "none")
    at = pack.FILE_HEADER.size
    while frame := _next_frame(window, at):
        found.way = "frames"
        place, entry = frame
        if place > at:
            found.findings.append(f"{window.key}: what lay between {at} and {place} is lost, one or more blobs")
        # The header is right, so the length is: what is in a payload is never taken for a frame, damaged or not.
        at = entry.offset + entry.length
        if at > window.size_bytes:
            found.findings.append(f"{window.key}: blob {entry.sha256} at {entry.offset} is cut off")
            return found
        if is_sound(window, blob_ref(window.key, entry)):
            found.blobs += [] if entry.codec == DICTIONARY else [(blob_ref(window.key, entry), entry.device_id)]
        else:
            found.findings.append(f"{window.key}: blob {entry.sha256} at {entry.offset} is not what was written")
    if at < (footer_offset or 0) or window.read(at, 4) == pack.FRAME_MAGIC:
        found.findings.append(f"{window.key}: what lay from {at} on is lost, one or more blobs")
    return found


def is_sound(window: Window, ref: BlobRef) -> bool:
    """Whether a blob of a pack comes out as it was written."""
    if ref.codec in UNCHANGED:
        return window.checksums(ref.offset, ref.length) == (ref.crc32c, ref.sha256)
    try:
        window.content(ref)
        return True
    except IntegrityError:
        return False


def _next_frame(window: Window, at: int) -> tuple[int, pack.Entry] | None:
    """The first frame header at a place or after it, and where it is."""
    place: int | None = at
    while place is not None:
        entry = pack.parse_frame(window.read(place, pack.MAX_FRAME_HEADER_BYTES), place)
        if entry is not None:
            return place, entry
        place = window.find(pack.FRAME_MAGIC, place + 1)
    return None


class Window:
    """An object read from front to back, ``CHUNK_BYTES`` of it in memory."""

    def __init__(self, store: ObjectStore, entry: ObjectInfo) -> None:
        self.store = store
        self.key = entry.key
        self.size_bytes = entry.size_bytes
        self._data = b""
        self._at = 0
        self._dictionary = functools.lru_cache(1)(functools.partial(read_dictionary, store))

    def read(self, at: int, length: int) -> bytes:
        """The bytes at a place; fewer where the object ends."""
        end = min(at + length, self.size_bytes)
        if at >= end:
            return b""
        if not (self._at <= at and end <= self._at + len(self._data)):
            self._load(at)
        return self._data[at - self._at : end - self._at]

    def find(self, wanted: bytes, at: int) -> int | None:
        """Where some bytes are found first from a place on."""
        while at + len(wanted) <= self.size_bytes:
            self.read(at, len(wanted))
            found = self._data.find(wanted, at - self._at)
            if found >= 0:
                return self._at + found
            at = self._at + len(self._data) - len(wanted) + 1
        return None

    def content(self, ref: BlobRef) -> bytes:
        """The verified content of a small blob; ``IntegrityError`` when it is not what was written."""
        fits = ref.length <= CHUNK_BYTES
        read = self.read if fits else functools.partial(self.store.get_range, self.key)
        return verified(self.store, ref, read(ref.offset, ref.length), self._dictionary)

    def checksums(self, at: int, length: int) -> tuple[int, str]:
        """CRC-32C and sha256 of a stretch of any length, as far as the object goes."""
        crc, sha256 = 0, hashlib.sha256()
        end = at + length
        while at < min(end, self.size_bytes):
            self.read(at, 1)
            piece = self._data[at - self._at : end - self._at]
            crc = int(google_crc32c.extend(crc, piece))
            sha256.update(piece)
            at += len(piece)
        return crc, sha256.hexdigest()

    def _load(self, at: int) -> None:
        self._data = self.store.get_range(self.key, at, min(CHUNK_BYTES, self.size_bytes - at))
        self._at = at
