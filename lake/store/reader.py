"""Reading blobs: what comes out is what was written, or an error that names the blob."""

from __future__ import annotations

import functools
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, cast

from lake.errors import AccessDenied, IntegrityError, LakeError, StoreError
from lake.model import BlobRef
from lake.store import pack
from lake.store.codec import RAW, UNCHANGED, decoded, no_dictionary, pieces
from lake.store.objects import COALESCE_BYTES, ObjectStore
from lake.store.prefetch import MAX_AHEAD_BYTES, ahead

MAX_REQUEST_BYTES = 16 * 1024 * 1024
FIRST_REQUEST_BYTES = 8 * 1024
"""What a stream reads at a new place. Each request that goes on where the last one ended is twice as large."""


def read_blob(store: ObjectStore, ref: BlobRef) -> bytes:
    """The verified bytes of one blob, in one range request; two more where its pack has a dictionary that it needs."""
    payload = store.get_range(ref.pack_uri, ref.offset, ref.length)
    return verified(store, ref, payload, functools.partial(read_dictionary, store))


def read_dictionary(store: ObjectStore, pack_uri: str) -> bytes:
    """What the texts of a pack are compressed with; ``IntegrityError`` where there is none or it is damaged."""
    at = pack.FILE_HEADER.size
    entry = pack.parse_frame(store.get_range(pack_uri, at, pack.DICTIONARY_FRAME_BYTES), at)
    if entry is not None and entry.codec == "dictionary":
        dictionary = store.get_range(pack_uri, entry.offset, entry.length)
        if pack.crc32c(dictionary) == entry.crc32c:
            return dictionary
    raise IntegrityError(f"the dictionary of {pack_uri} is damaged")


def open_blob(store: ObjectStore, ref: BlobRef) -> BinaryIO:
    """A seekable stream over a blob of any size: few bytes are read where one seeks, more at once where one reads on.

    A read from start to end is verified: the last chunk comes out only when the whole sha256 is right.
    """
    if ref.codec in UNCHANGED:
        return cast(BinaryIO, io.BufferedReader(_Blob(store, ref)))
    if ref.pack_uri.startswith("packs/"):
        return io.BytesIO(read_blob(store, ref))
    return _restored(store, ref)


def open_object(store: ObjectStore, key: str, size_bytes: int) -> BinaryIO:
    """A seekable stream over an object as it lies there: nothing is verified."""
    payload = BlobRef("", size_bytes, key, 0, size_bytes, RAW, None, "")
    return cast(BinaryIO, io.BufferedReader(_Blob(store, payload, verify=False)))


def _restored(store: ObjectStore, ref: BlobRef) -> BinaryIO:
    """A large compressed blob as a local file without a name, verified as a whole."""
    whole = hashlib.sha256()
    restored = cast(BinaryIO, tempfile.TemporaryFile(prefix="lake-"))  # noqa: SIM115  (given out)
    try:
        for piece in pieces(io.BufferedReader(_Blob(store, ref)), ref.codec, ref.size_bytes, no_dictionary):
            restored.write(piece)
            whole.update(piece)
        if whole.hexdigest() != ref.sha256:
            raise IntegrityError("other bytes")
    except IntegrityError as error:
        restored.close()
        raise _wrong(store, ref) from error
    except OSError as error:
        restored.close()
        raise StoreError(f"blob {ref.sha256} cannot be restored to a local file: {error.strerror or error}") from error
    restored.seek(0)
    return restored


def scan(store: ObjectStore, refs: Iterable[BlobRef]) -> Iterator[tuple[BlobRef, bytes | IntegrityError]]:
    """Verified bytes of many blobs in the order of the packs, near ones in one request, fetched ahead by threads.

    Memory is bounded by ``MAX_AHEAD_BYTES``, the blob that is given out, and one that a request ends in. A damaged blob
    comes as an ``IntegrityError`` and costs only itself; a dead store raises.
    """
    requests = _requests(sorted(refs, key=lambda ref: (ref.pack_uri, ref.offset)))
    parts: list[_Part] = []
    dictionary = functools.lru_cache(1)(functools.partial(read_dictionary, store))
    with closing(ahead(functools.partial(_fetched, store), requests)) as fetched:
        for request, data in fetched:
            if isinstance(data, LakeError) and _is_dead(data):
                raise data
            parts.append(_Part(request.offset, request.end, data))
            del data
            for ref in request.refs:
                yield ref, _given(store, ref, parts, dictionary)
            parts = [part for part in (_from(part, request.next_offset) for part in parts) if part is not None]


@dataclass(frozen=True)
class _Request:
    """One range request."""

    pack_uri: str
    offset: int
    length: int
    refs: tuple[BlobRef, ...]
    """The blobs that end in it; the first ones may begin in the requests before it."""
    next_offset: int
    """Where the next blob begins, in this request or after it: what lies before is not needed any more."""

    @property
    def end(self) -> int:
        return self.offset + self.length


class _Part(NamedTuple):
    """What one request brought, or what of it is still needed."""

    at: int
    end: int
    data: bytes | LakeError


def _requests(refs: list[BlobRef]) -> Iterator[_Request]:
    stretch: list[BlobRef] = []
    end = 0
    for ref in refs:
        if stretch and not _joins(stretch, end, ref):
            yield from _requests_of(stretch, end)
            stretch = []
        end = max(end if stretch else 0, ref.offset + ref.length)
        stretch.append(ref)
    if stretch:
        yield from _requests_of(stretch, end)


def _joins(stretch: list[BlobRef], end: int, ref: BlobRef) -> bool:
    near = ref.pack_uri == stretch[0].pack_uri and ref.offset - end < COALESCE_BYTES
    return near and not _alone(ref) and not _alone(stretch[0])


def _alone(ref: BlobRef) -> bool:
    """Whether a blob is one request: more than is fetched ahead, or a row that cannot be right, told at once."""
    return ref.length > MAX_AHEAD_BYTES


def _requests_of(stretch: list[BlobRef], end: int) -> Iterator[_Request]:
    """A stretch of near blobs in as few requests as there can be: all but the last are full, so blobs are cut."""
    start = stretch[0].offset
    step = end - start if _alone(stretch[0]) else MAX_REQUEST_BYTES
    first = 0
    for offset in range(start, max(end, start + 1), step):
        stop = min(offset + step, end)
        after = first
        while after < len(stretch) and stretch[after].offset + stretch[after].length <= stop:
            after += 1
        next_offset = stretch[after].offset if after < len(stretch) else end
        yield _Request(stretch[0].pack_uri, offset, stop - offset, tuple(stretch[first:after]), next_offset)
        first = after


def _fetched(store: ObjectStore, request: _Request) -> bytes | LakeError:
    try:
        return store.get_range(request.pack_uri, request.offset, request.length)
    except LakeError as error:
        return error


def _from(part: _Part, offset: int) -> _Part | None:
    """What of a part lies from a place on."""
    if part.end <= offset:
        return None
    if isinstance(part.data, LakeError) or part.at >= offset:
        return part
    return _Part(offset, part.end, part.data[offset - part.at :])


def _given(
    store: ObjectStore, ref: BlobRef, parts: Sequence[_Part], dictionary: Callable[[str], bytes]
) -> bytes | IntegrityError:
    end = ref.offset + ref.length
    found = []
    try:
        for part in parts:
            if part.at < end and ref.offset < part.end:
                if isinstance(part.data, LakeError):
                    # A cut-off pack fails a whole request: each of its blobs is asked for alone.
                    return read_blob(store, ref)
                found.append(memoryview(part.data)[max(0, ref.offset - part.at) : end - part.at])
        return verified(store, ref, b"".join(found), dictionary)
    except IntegrityError as error:
        return error
    except LakeError as error:
        if _is_dead(error):
            raise
        return IntegrityError(f"blob {ref.sha256} cannot be read: {error}")


def _is_dead(error: LakeError) -> bool:
    """Whether the store cannot be used at all, rather than one object of it."""
    return error.retryable or isinstance(error, AccessDenied)


def verified(store: ObjectStore, ref: BlobRef, payload: bytes, dictionary: Callable[[str], bytes]) -> bytes:
    """The content of a payload; ``dictionary`` gives that of a pack by its key. ``IntegrityError`` names the blob."""
    if ref.crc32c is not None and pack.crc32c(payload) != ref.crc32c:
        raise _wrong(store, ref)
    try:
        data = decoded(payload, ref.codec, ref.size_bytes, functools.partial(dictionary, ref.pack_uri))
    except IntegrityError as error:
        raise _wrong(store, ref) from error
    if len(data) != ref.size_bytes or hashlib.sha256(data).hexdigest() != ref.sha256:
        raise _wrong(store, ref)
    return data


def _wrong(store: ObjectStore, ref: BlobRef) -> IntegrityError:
    return IntegrityError(
        f"blob {ref.sha256} in {store.root.rstrip('/')}/{ref.pack_uri} at {ref.offset} is not what was written: "
        "restore the object from a replica"
    )


class _Blob(io.RawIOBase):
    """Range reads of one blob's payload as a raw stream."""

    def __init__(self, store: ObjectStore, ref: BlobRef, *, verify: bool = True) -> None:
        self.store = store
        self.ref = ref
        self.position = 0
        self._read = b""
        self._read_at = -1  # nothing was read yet, so nothing goes on
        self._request_bytes = FIRST_REQUEST_BYTES
        self._hashed = 0
        self._hash = hashlib.sha256()
        self._size_bytes = ref.length
        self._sha256 = ref.sha256 if verify and ref.codec in UNCHANGED else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self._size_bytes}[whence]
        self.position = max(0, base + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._size_bytes - self.position)
        if wanted <= 0:
            return 0
        if not self._read_at <= self.position < self._read_at + len(self._read):
            self._fetch(wanted)
        start = self.position - self._read_at
        data = memoryview(self._read)[start : start + wanted]
        if self.position == self._hashed:
            self._hash.update(data)
            self._hashed += len(data)
            if self._hashed == self._size_bytes and self._sha256 not in (None, self._hash.hexdigest()):
                raise _wrong(self.store, self.ref)
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)

    def _fetch(self, wanted: int) -> None:
        goes_on = self.position == self._read_at + len(self._read)
        self._request_bytes = min(2 * self._request_bytes, MAX_REQUEST_BYTES) if goes_on else FIRST_REQUEST_BYTES
        length = min(max(wanted, self._request_bytes), MAX_REQUEST_BYTES, self._size_bytes - self.position)
        self._read = b""  # let go before the next is there
        self._read = self.store.get_range(self.ref.pack_uri, self.ref.offset + self.position, length)
        self._read_at = self.position
