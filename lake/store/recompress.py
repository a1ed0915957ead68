"""Compressing contents that are stored already: what a compaction writes anew, and large blobs. Runs on the executor.

Nothing of the original is dropped here: a compressed content was decoded and compared before its row leads to it, and
``gc`` takes the old bytes when nobody can be led to them any more (docs/decisions/0013-compression.md).
"""

from __future__ import annotations

import functools
import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc

from lake.errors import IntegrityError
from lake.model import BlobRef
from lake.store import zstd
from lake.store.blobs import REF_COLUMNS
from lake.store.codec import (
    PAYS_BELOW,
    RAW,
    STORED,
    Encoded,
    as_it_is,
    codecs_for,
    encoded,
    is_compressible,
    is_text,
    no_dictionary,
)
from lake.store.objects import ObjectStore
from lake.store.pack import MAX_BLOBS
from lake.store.reader import open_blob, scan
from lake.store.staging import spool
from lake.store.writer import PackWriter
from lake.tables import Tables

MAX_SAMPLES = 1024
MAX_SAMPLED_BYTES = 16 * 1024**2
CHUNK_BYTES = 4 * 1024**2

Stored = tuple[BlobRef, str | None]
"""Where a blob lies, and the id of its device."""


def encoder(codec: str, recompress: bool) -> Callable[[bytes, str, bytes | None], Encoded]:
    """How a blob is written anew: compressed if it is so already, or if that is wanted and was not tried."""
    if codec == STORED:
        return _stored
    return encoded if recompress or codec != RAW else as_it_is


def _stored(data: bytes, content_type: str, dictionary: bytes | None = None) -> Encoded:
    return Encoded(STORED, data)


def dictionary_for(store: ObjectStore, refs: Sequence[BlobRef], recompress: bool) -> bytes | None:
    """What the texts among these blobs, which go into one pack, are compressed with; None where that does not pay.

    Parts of the texts are in it. So it lies in the pack of each text that it was trained on, and goes with them.
    """
    first = sorted(refs, key=lambda ref: (ref.pack_uri, ref.offset))[: MAX_BLOBS - 1]
    texts = [ref for ref in first if is_text(ref.content_type) and encoder(ref.codec, recompress) is encoded]
    chosen = texts[:: len(texts) // MAX_SAMPLES + 1]
    samples: list[bytes] = []
    read_bytes = 0
    for _, data in scan(store, chosen):
        if not isinstance(data, IntegrityError):
            samples.append(data[: zstd.SAMPLE_BYTES])
            read_bytes += len(data)
        if read_bytes > MAX_SAMPLED_BYTES:
            break
    dictionary = zstd.train(samples)
    if dictionary is None:
        return None
    saved = sum(zstd.size(sample) - zstd.size(sample, dictionary) for sample in samples)
    return dictionary if saved * len(texts) / len(samples) > len(dictionary) else None


def large_untried(tables: Tables) -> list[Stored]:
    """Large blobs that compression is to be tried on. Runs on the driver."""
    wanted = (pc.field("codec") == RAW) & pc.starts_with(pc.field("pack_uri"), "blobs/")
    rows = tables.dataset("blobs").to_table(columns=[*REF_COLUMNS, "device_id"], filter=wanted).to_pylist()
    devices = {row["sha256"]: row.pop("device_id") for row in rows}
    refs = {row["sha256"]: BlobRef(**row) for row in rows}
    return [(ref, devices[sha256]) for sha256, ref in refs.items() if is_compressible(ref.content_type)]


def encode_large(store: ObjectStore, staging_dir: str | None, payload: bytes) -> Iterator[bytes]:
    """Compress large blobs of one task; gives for each the key it had, where it lies now, and what that saves."""
    items: list[Stored] = pickle.loads(payload)  # noqa: S301  (made by the driver of this run)
    moves: list[tuple[str, BlobRef]] = []
    findings: list[str] = []
    for ref, device_id in items:
        with spool(staging_dir) as scratch:
            try:
                moves.append((ref.pack_uri, _encode_one(store, scratch, ref, device_id)))
            except IntegrityError as error:
                findings.append(str(error))
    yield pickle.dumps((moves, findings, sum(ref.size_bytes - ref.length for _, ref in moves)))


def _encode_one(store: ObjectStore, scratch: Path, ref: BlobRef, device_id: str | None) -> BlobRef:
    original, compressed = scratch / "original", scratch / "compressed"
    with open_blob(store, ref) as blob, original.open("wb") as spooled:
        for piece in iter(functools.partial(blob.read, CHUNK_BYTES), b""):
            spooled.write(piece)
    for codec in codecs_for(ref.content_type):
        with original.open("rb") as source, compressed.open("w+b") as sink:
            written = codec.encode(source, sink)
        if written and compressed.stat().st_size < PAYS_BELOW * ref.size_bytes:
            with compressed.open("rb") as source:
                whole = hashlib.sha256()
                for piece in codec.decode(source, no_dictionary):
                    whole.update(piece)
            if whole.hexdigest() == ref.sha256:
                writer = PackWriter(store, scratch)
                size_bytes = ref.size_bytes
                return writer.add_large(
                    ref.sha256, compressed, ref.content_type, device_id, codec=codec.NAME, size_bytes=size_bytes
                )
    return replace(ref, codec=STORED)
