"""Reading blobs: what comes out is what was written, or an error that names the blob."""

from __future__ import annotations

import hashlib
import io
import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

from lake.errors import AccessDenied, IntegrityError, LakeError
from lake.model import BlobRef
from lake.store.objects import COALESCE_BYTES, ObjectStore
from lake.store.pack import crc32c, decoded

MAX_REQUEST_BYTES = 16 * 1024 * 1024
PREFETCH_REQUESTS = 2
"""Requests that wait for the reader; one more is being fetched and one is being read, so memory is bounded by this
many and two times ``MAX_REQUEST_BYTES`` (or the largest blob, where that is more)."""


def read_blob(store: ObjectStore, ref: BlobRef) -> bytes:
    """The verified bytes of one blob, in one range request."""
    return _verified(store, ref, store.get_range(ref.pack_uri, ref.offset, ref.length))


def open_blob(store: ObjectStore, ref: BlobRef) -> BinaryIO:
    """A seekable stream over a blob of any size, read in bounded chunks.

    A read from start to end is verified: the last chunk comes out only when the whole sha256 is right.
    """
    if ref.codec != "raw":
        return io.BytesIO(read_blob(store, ref))
    return cast(BinaryIO, io.BufferedReader(_Blob(store, ref), 1024 * 1024))


def scan(store: ObjectStore, refs: Iterable[BlobRef]) -> Iterator[tuple[BlobRef, bytes | IntegrityError]]:
    """Verified bytes of many blobs in the order of the packs, near ones in one request, fetched ahead by a thread.

    A damaged blob comes as an ``IntegrityError`` and costs only itself; a dead store raises.
    """
    requests = _requests(sorted(refs, key=lambda ref: (ref.pack_uri, ref.offset)))
    fetched: queue.Queue[_Fetched] = queue.Queue(PREFETCH_REQUESTS)
    stop = threading.Event()

    def fetch() -> None:
        try:
            for request in requests:
                if stop.is_set():
                    return
                _put(fetched, stop, (request, _fetched(store, request)))
            _put(fetched, stop, None)
        except BaseException as error:
            # Whatever ends this thread is raised where the blobs are waited for, else they are waited for without end.
            _put(fetched, stop, error)

    thread = threading.Thread(target=fetch, name="lake-prefetch", daemon=True)
    thread.start()
    try:
        while (item := fetched.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield from _split(store, *item)
            del item
    finally:
        stop.set()
        with suppress(queue.Empty):
            while True:
                fetched.get_nowait()
        thread.join()


@dataclass(frozen=True)
class _Request:
    """One range request and the blobs that lie in it."""

    pack_uri: str
    offset: int
    length: int
    refs: tuple[BlobRef, ...]


_Fetched = tuple[_Request, bytes | LakeError] | BaseException | None
"""A request with its answer, what ended the thread that fetches, or None after the last request."""


def _requests(refs: list[BlobRef]) -> Iterator[_Request]:
    group: list[BlobRef] = []
    for ref in refs:
        if group and not _joins(group, ref):
            yield _request(group)
            group = []
        group.append(ref)
    if group:
        yield _request(group)


def _joins(group: list[BlobRef], ref: BlobRef) -> bool:
    first, last = group[0], group[-1]
    end = ref.offset + ref.length
    near = ref.offset - (last.offset + last.length) < COALESCE_BYTES
    return ref.pack_uri == first.pack_uri and near and end - first.offset <= MAX_REQUEST_BYTES


def _request(group: list[BlobRef]) -> _Request:
    end = max(ref.offset + ref.length for ref in group)
    return _Request(group[0].pack_uri, group[0].offset, end - group[0].offset, tuple(group))


def _fetched(store: ObjectStore, request: _Request) -> bytes | LakeError:
    try:
        return store.get_range(request.pack_uri, request.offset, request.length)
    except LakeError as error:
        return error


def _put(fetched: queue.Queue[_Fetched], stop: threading.Event, item: _Fetched) -> None:
    while not stop.is_set():
        try:
            fetched.put(item, timeout=0.2)
            return
        except queue.Full:
            continue


def _split(
    store: ObjectStore, request: _Request, data: bytes | LakeError
) -> Iterator[tuple[BlobRef, bytes | IntegrityError]]:
    if isinstance(data, LakeError) and _is_dead(data):
        raise data
    for ref in request.refs:
        try:
            if isinstance(data, LakeError):
                # A cut-off pack fails a whole request: each of its blobs is asked for alone.
                yield ref, read_blob(store, ref)
            else:
                start = ref.offset - request.offset
                yield ref, _verified(store, ref, data[start : start + ref.length])
        except IntegrityError as error:
            yield ref, error
        except LakeError as error:
            if _is_dead(error):
                raise
            yield ref, IntegrityError(f"blob {ref.sha256} cannot be read: {error}")


def _is_dead(error: LakeError) -> bool:
    """Whether the store cannot be used at all, rather than one object of it."""
    return error.retryable or isinstance(error, AccessDenied)


def _verified(store: ObjectStore, ref: BlobRef, payload: bytes) -> bytes:
    if ref.crc32c is not None and crc32c(payload) != ref.crc32c:
        raise _wrong(store, ref)
    data = decoded(payload, ref.codec)
    if len(data) != ref.size_bytes or hashlib.sha256(data).hexdigest() != ref.sha256:
        raise _wrong(store, ref)
    return data


def _wrong(store: ObjectStore, ref: BlobRef) -> IntegrityError:
    return IntegrityError(
        f"blob {ref.sha256} in {store.root.rstrip('/')}/{ref.pack_uri} at {ref.offset} is not what was written: "
        "restore the object from a replica"
    )


class _Blob(io.RawIOBase):
    """Range reads of one blob as a raw stream."""

    def __init__(self, store: ObjectStore, ref: BlobRef) -> None:
        self.store = store
        self.ref = ref
        self.position = 0
        self._hashed = 0
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.ref.size_bytes}[whence]
        self.position = max(0, base + offset)
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        length = min(len(buffer), self.ref.size_bytes - self.position, MAX_REQUEST_BYTES)
        if length <= 0:
            return 0
        data = self.store.get_range(self.ref.pack_uri, self.ref.offset + self.position, length)
        if self.position == self._hashed:
            self._hash.update(data)
            self._hashed += length
            if self._hashed == self.ref.size_bytes and self._hash.hexdigest() != self.ref.sha256:
                raise _wrong(self.store, self.ref)
        buffer[:length] = data
        self.position += length
        return length
