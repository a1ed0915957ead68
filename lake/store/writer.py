"""Writing blobs: small ones into packs, large ones under keys of their own. Runs on the executor."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lake.errors import IntegrityError, StoreError, UsageError
from lake.model import BlobRef
from lake.store import pack
from lake.store.about import about, about_key
from lake.store.codec import DICTIONARY, RAW, UNCHANGED, Encoded, as_it_is
from lake.store.objects import ObjectStore


class PackWriter:
    """Spools blobs into a pack file and uploads it when it is full; memory does not grow with the pack.

    A returned ref holds from ``flush`` or ``close`` on: only then is the pack uploaded and verified.
    """

    def __init__(
        self,
        store: ObjectStore,
        staging_dir: Path,
        *,
        prefix: str = "packs",
        target_bytes: int = 128 * 1024**2,
        max_blob_bytes: int = 8 * 1024**2,
        dictionary: bytes | None = None,
    ) -> None:
        """``dictionary`` is written into the first pack, whose texts may be compressed with it, and into no other."""
        self.store = store
        self.staging_dir = staging_dir
        self.prefix = prefix
        self.target_bytes = target_bytes
        self.max_blob_bytes = max_blob_bytes
        self.dictionary = dictionary
        self._entries: list[pack.Entry] = []
        self._file: BinaryIO | None = None
        self._path = Path()
        self._key = ""
        self._written = 0

    def add(
        self,
        sha256: str,
        data: bytes,
        content_type: str,
        device_id: str | None = None,
        encode: Callable[[bytes, str, bytes | None], Encoded] = as_it_is,
    ) -> BlobRef:
        """Append one blob to the open pack, as ``encode`` makes it of content, type and the pack's dictionary."""
        if len(data) >= self.max_blob_bytes:
            raise UsageError(
                f"blob {sha256} has {len(data):,} bytes: from {self.max_blob_bytes:,} on it is a large one"
            )
        if self._written >= self.target_bytes or len(self._entries) >= pack.MAX_BLOBS:
            self.flush()
        try:
            out = self._file or self._start()
            stored = encode(data, content_type, self.dictionary)
            return blob_ref(self._key, self._append(out, sha256, len(data), stored, content_type, device_id))
        except OSError as error:
            raise self._no_room(error) from error

    def _append(
        self, out: BinaryIO, sha256: str, size_bytes: int, stored: Encoded, content_type: str, device_id: str | None
    ) -> pack.Entry:
        codec, payload = stored
        kind, device = pack.short_name(content_type) or "", pack.short_name(device_id)
        crc = pack.crc32c(payload)
        header = pack.frame_header(self._written, len(payload), crc, size_bytes, sha256, codec, kind, device)
        out.write(header)
        out.write(payload)
        entry = pack.Entry(sha256, self._written + len(header), len(payload), size_bytes, crc, codec, kind, device)
        self._entries.append(entry)
        self._written += len(header) + len(payload)
        return entry

    def add_large(
        self,
        sha256: str,
        path: Path,
        content_type: str,
        device_id: str | None = None,
        *,
        codec: str = RAW,
        size_bytes: int | None = None,
    ) -> BlobRef:
        """Store one large blob under ``blobs/<aa>/<sha256>`` and verify that it is whole.

        ``path`` holds what is stored; ``size_bytes`` is the original's where a codec made something else of it.

        What a pack's frame says of a small blob lies beside it, and is written first: see ``lake.store.about``. What a
        crash left under the key is written anew: ``gc`` would take the old one for garbage before our rows are there.
        """
        key = large_key(sha256, codec)
        length = path.stat().st_size
        size_bytes = length if size_bytes is None else size_bytes
        ref = BlobRef(sha256, size_bytes, key, 0, length, codec, _crc_of(path), content_type)
        self.store.put(about_key(key), about(ref, device_id))
        self.store.put(key, path)
        found = self.store.stat(key).size_bytes
        if found != length:
            raise IntegrityError(
                f"{self.store.root}/{key} has {found} bytes, {length} were written: restore it from a replica"
            )
        return ref

    def flush(self) -> None:
        """Finish, upload and verify the open pack."""
        if self._file is None:
            return
        try:
            self._file.write(pack.footer_and_trailer(self._entries, self._written))
            self._file.close()
        except OSError as error:
            raise self._no_room(error) from error
        size_bytes = self._path.stat().st_size
        self.store.put(self._key, self._path)
        self._path.unlink()
        self._verify(size_bytes)
        self._file, self._entries, self._written, self.dictionary = None, [], 0, None

    def close(self) -> None:
        self.flush()

    def _start(self) -> BinaryIO:
        day = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d")
        name = uuid.uuid4().hex
        self._key = f"{self.prefix}/{day}/{name}.pack"
        self._path = self.staging_dir / f"{name}.pack"
        self._file = self._path.open("xb", buffering=1024 * 1024)
        self._file.write(pack.file_header())
        self._written = pack.FILE_HEADER.size
        if self.dictionary is not None:
            name = hashlib.sha256(self.dictionary).hexdigest()
            stored = Encoded(DICTIONARY, self.dictionary)
            self._append(self._file, name, len(self.dictionary), stored, pack.DICTIONARY_TYPE, None)
        return self._file

    def _no_room(self, error: OSError) -> StoreError:
        return StoreError(f"no pack can be spooled in {self.staging_dir}: {error.strerror or error}")

    def _verify(self, size_bytes: int) -> None:
        """Read back what ends the pack: a lost part or a cut upload shows there."""
        found = self.store.stat(self._key).size_bytes
        if found != size_bytes:
            raise IntegrityError(f"{self.store.root}/{self._key} has {found} bytes, {size_bytes} were written")
        tail = self.store.get_range(self._key, size_bytes - pack.TRAILER.size, pack.TRAILER.size)
        trailer = pack.parse_trailer(tail, size_bytes)
        footer = self.store.get_range(self._key, trailer.footer_offset, trailer.footer_length)
        if pack.parse_footer(footer, trailer) != self._entries:
            raise IntegrityError(f"{self.store.root}/{self._key} does not name the blobs that were written")


def blob_ref(key: str, entry: pack.Entry) -> BlobRef:
    """Where one entry of a pack lies in the store."""
    return BlobRef(
        entry.sha256, entry.size_bytes, key, entry.offset, entry.length, entry.codec, entry.crc32c, entry.content_type
    )


def large_key(sha256: str, codec: str = RAW) -> str:
    """Key of a large blob; what is compressed has its codec's name behind a dot."""
    return f"blobs/{sha256[:2]}/{sha256}" + ("" if codec in UNCHANGED else f".{codec}")


def _crc_of(path: Path) -> int:
    import google_crc32c

    crc = 0
    with path.open("rb") as stream:
        while chunk := stream.read(4 * 1024 * 1024):
            crc = int(google_crc32c.extend(crc, chunk))
    return crc
