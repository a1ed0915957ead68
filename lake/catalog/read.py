"""From a name of a recording (asset id, sha256, FILE reference) to its verified bytes, without a JVM."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow.compute as pc

from lake.errors import AccessDenied, LakeError, NotFound, UsageError
from lake.model import BlobRef
from lake.store.blobs import stored_blobs
from lake.store.reader import open_blob, read_blob
from lake.store.tombstones import erased_at
from lake.tables import Tables

if TYPE_CHECKING:
    from lake.store.objects import ObjectStore

_ID = re.compile(r"[0-9a-f]{4,64}")
WHOLE_BYTES = 8 * 1024 * 1024
"""Blobs below this are read and verified in one request; larger ones are streamed."""


def open_recording(tables: Tables, store: ObjectStore, recording: str | dict[str, Any]) -> BinaryIO:
    """A readable, seekable stream of one recording; wrong bytes raise ``IntegrityError``, never come out.

    A FILE reference (or an asset's row, which has one) is followed without a look at the tables: one request. Where its
    content has moved since, the table of blobs says where to.
    """
    direct = _referenced(recording)
    if direct is not None:
        try:
            if direct.size_bytes >= WHOLE_BYTES:
                store.stat(direct.pack_uri)  # a stream would find out at its first read only
            return open_content(store, direct)
        except LakeError as error:
            if error.retryable or isinstance(error, AccessDenied):
                raise
    return open_content(store, find_blob(tables, recording))


def _referenced(recording: str | dict[str, Any]) -> BlobRef | None:
    """What a FILE reference leads to; None where there is none, or not a whole one."""
    file = (recording.get("file") or recording) if isinstance(recording, dict) else None
    if not isinstance(file, dict):
        return None
    uri, offset, size, checksum = (file.get(name) for name in ("uri", "offset", "size", "checksum"))
    if not (isinstance(uri, str) and isinstance(offset, int) and isinstance(size, int) and isinstance(checksum, str)):
        return None
    if "#" in uri:  # compressed: the table of blobs says how
        return None
    sha256 = checksum.removeprefix("sha256:")
    return BlobRef(sha256, size, uri, offset, size, "raw", None, str(file.get("content_type") or ""))


def open_content(store: ObjectStore, ref: BlobRef) -> BinaryIO:
    """The same for a blob that was looked up already."""
    if ref.size_bytes < WHOLE_BYTES:
        return io.BytesIO(read_blob(store, ref))
    return open_blob(store, ref)


def find_blob(tables: Tables, recording: str | dict[str, Any]) -> BlobRef:
    """Where the bytes of a recording lie: by asset id, sha256, an asset's row or a FILE reference."""
    sha256 = content_of(tables, recording)
    found = stored_blobs(tables.dataset("blobs"), [sha256])
    if sha256 not in found:
        raise NotFound(_missing(tables, "blob", sha256))
    return found[sha256].ref


def _missing(tables: Tables, kind: str, name: str) -> str:
    at = erased_at(tables, name)
    return f"{kind} {name} was erased on {at:%Y-%m-%d}" if at else f"no {kind} {name} in {tables.root}"


def content_of(tables: Tables, recording: str | dict[str, Any]) -> str:
    """The sha256 of a recording: by asset id (its beginning is enough), sha256, an asset's row or a FILE reference."""
    checksum = None
    if isinstance(recording, dict):
        checksum = recording.get("sha256") or (recording.get("file") or recording).get("checksum")
    if isinstance(checksum, str):
        return checksum.removeprefix("sha256:")
    if not isinstance(recording, str):
        raise UsageError("a recording is named by an asset id, a sha256, an asset's row or a FILE reference")
    name = recording.strip().lower()
    if not _ID.fullmatch(name):
        raise UsageError(f"{recording!r} is no asset id or sha256: see the table assets")
    if len(name) == 64:
        return name
    column = pc.field("asset_id")
    wanted = column == name if len(name) == 32 else pc.starts_with(column, name)
    found = tables.dataset("assets").to_table(columns=["asset_id", "sha256"], filter=wanted).to_pylist()
    ids = {row["asset_id"] for row in found}
    if not ids:
        raise NotFound(f"{_missing(tables, 'asset', name)}: see the table assets")
    if len(ids) > 1:
        raise UsageError(f"{name} is the beginning of {len(ids)} asset ids: give more of it")
    return str(found[0]["sha256"])
