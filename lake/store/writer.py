"""Writing blobs: small ones into packs, large ones under keys of their own. Runs on the executor."""

from __future__ import annotations

import datetime
import uuid
from pathlib import Path
from typing import BinaryIO

from lake.errors import IntegrityError, StoreError, UsageError
from lake.model import BlobRef
from lake.store import pack
from lake.store.about import about, about_key
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
    ) -> None:
        self.store = store
        self.staging_dir = staging_dir
        self.prefix = prefix
        self.target_bytes = target_bytes
        self.max_blob_bytes = max_blob_bytes
        self._entries: list[pack.Entry] = []
        self._file: BinaryIO | None = None
        self._path = Path()
        self._key = ""
        self._written = 0

    def add(self, sha256: str, data: bytes, content_type: str, device_id: str | None = None) -> BlobRef:
        """Append one blob to the open pack."""
        if len(data) >= self.max_blob_bytes:
            raise UsageError(
                f"blob {sha256} has {len(data):,} bytes: from {self.max_blob_bytes:,} on it is a large one"
            )
        if self._written >= self.target_bytes or len(self._entries) >= pack.MAX_BLOBS:
            self.flush()
        kind, device = pack.short_name(content_type) or "", pack.short_name(device_id)
        crc = pack.crc32c(data)
        try:
            out = self._file or self._start()
            header = pack.frame_header(self._written, len(data), crc, len(data), sha256, "raw", kind, device)
            out.write(header)
            out.write(data)
        except OSError as error:
            raise self._no_room(error) from error
        entry = pack.Entry(sha256, self._written + len(header), len(data), len(data), crc, "raw", kind, device)
        self._entries.append(entry)
        self._written += len(header) + len(data)
        return blob_ref(self._key, entry)

    def add_large(self, sha256: str, path: Path, content_type: str, device_id: str | None = None) -> BlobRef:
        """Store one large blob under ``blobs/<aa>/<sha256>`` and verify that it is whole.

        What a pack's frame says of a small blob lies beside it, and is written first: see ``lake.store.about``. What a
        crash left under the key is written anew: ``gc`` would take the old one for garbage before our rows are there.
        """
        key = large_key(sha256)
        size_bytes = path.stat().st_size
        ref = BlobRef(sha256, size_bytes, key, 0, size_bytes, "raw", _crc_of(path), content_type)
        self.store.put(about_key(key), about(ref, device_id))
        self.store.put(key, path)
        found = self.store.stat(key).size_bytes
        if found != size_bytes:
            raise IntegrityError(
                f"{self.store.root}/{key} has {found} bytes, {size_bytes} were written: restore it from a replica"
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
        self._file, self._entries, self._written = None, [], 0

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


def large_key(sha256: str) -> str:
    return f"blobs/{sha256[:2]}/{sha256}"


def _crc_of(path: Path) -> int:
    import google_crc32c

    crc = 0
    with path.open("rb") as stream:
        while chunk := stream.read(4 * 1024 * 1024):
            crc = int(google_crc32c.extend(crc, chunk))
    return crc
