"""From a name of a recording (asset id, sha256, FILE reference) to its verified bytes, without a JVM."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow.compute as pc

from lake.errors import NotFound, UsageError
from lake.model import BlobRef
from lake.store.blobs import stored_blobs
from lake.store.reader import open_blob, read_blob
from lake.tables import Tables

if TYPE_CHECKING:
    from lake.store.objects import ObjectStore

_ID = re.compile(r"[0-9a-f]{4,64}")
WHOLE_BYTES = 8 * 1024 * 1024
"""Blobs below this are read and verified in one request; larger ones are streamed."""


def open_recording(tables: Tables, store: ObjectStore, recording: str | dict[str, Any]) -> BinaryIO:
    """A readable, seekable stream of one recording; wrong bytes raise ``IntegrityError``, never come out."""
    return open_content(store, find_blob(tables, recording))


def open_content(store: ObjectStore, ref: BlobRef) -> BinaryIO:
    """The same for a blob that was looked up already."""
    if ref.size_bytes < WHOLE_BYTES:
        return io.BytesIO(read_blob(store, ref))
    return open_blob(store, ref)


def find_blob(tables: Tables, recording: str | dict[str, Any]) -> BlobRef:
    """Where the bytes of a recording lie: by asset id, sha256, an asset's row or a FILE reference."""
    sha256 = _sha256_of(tables, recording)
    found = stored_blobs(tables.dataset("blobs"), [sha256])
    if sha256 not in found:
        raise NotFound(f"no blob {sha256} in {tables.root}")
    return found[sha256].ref


def _sha256_of(tables: Tables, recording: str | dict[str, Any]) -> str:
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
        raise NotFound(f"no asset {name} in {tables.root}: see the table assets")
    if len(ids) > 1:
        raise UsageError(f"{name} is the beginning of {len(ids)} asset ids: give more of it")
    return str(found[0]["sha256"])
