"""Whether an object of the store is, to the last byte, what was written. Runs on the executor, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lake.errors import IntegrityError, NotFound
from lake.model import BlobRef
from lake.store import pack
from lake.store.about import about_key, parse_about
from lake.store.codec import DICTIONARY, RAW
from lake.store.index import Window, index_pack, is_sound, large_checksums, read_footer
from lake.store.objects import ObjectInfo, ObjectStore
from lake.store.writer import blob_ref


@dataclass(frozen=True)
class Damage:
    """One stretch of an object that is not what was written, or a row that does not lead to what it names."""

    key: str
    what: str
    """``payload``, ``frame``, ``header``, ``footer``, ``description``, ``row`` or ``object``."""
    sha256: str | None
    """The blob that cannot be read any more; None where a rebuild of the index is hurt, or what blobs are compressed
    with, which is told for each of them too."""
    offset: int
    length: int
    said: str


def verify_object(store: ObjectStore, entry: ObjectInfo, rows: Sequence[BlobRef]) -> list[Damage]:
    """Everything that is wrong with a pack or a large blob and the rows that lead to it."""
    try:
        if not entry.size_bytes:
            store.stat(entry.key)  # what a row leads to and no listing had
        return _pack(store, entry, rows) if entry.key.startswith("packs/") else _large(store, entry, rows)
    except (NotFound, IntegrityError) as error:
        hurt: list[str | None] = [ref.sha256 for ref in rows]
        return [Damage(entry.key, "object", sha256, 0, entry.size_bytes, str(error)) for sha256 in hurt or [None]]


def _pack(store: ObjectStore, entry: ObjectInfo, rows: Sequence[BlobRef]) -> list[Damage]:
    window = Window(store, entry)
    found: list[Damage] = []
    if window.read(0, pack.FILE_HEADER.size) != pack.file_header():
        found.append(Damage(entry.key, "header", None, 0, pack.FILE_HEADER.size, "the pack's first bytes differ"))
    try:
        entries = read_footer(store, entry)
    except IntegrityError as error:
        entries = []
        end = max((ref.offset + ref.length for ref in rows), default=0)
        found.append(Damage(entry.key, "footer", None, end, entry.size_bytes - end, str(error)))
        for line in index_pack(store, entry).findings if not rows else []:
            found.append(Damage(entry.key, "object", None, 0, entry.size_bytes, line))
    at = pack.FILE_HEADER.size
    for each in entries:
        if pack.parse_frame(window.read(at, each.offset - at), at) != each:
            said = f"the frame of blob {each.sha256} is damaged: it cannot be rebuilt without the footer"
            found.append(Damage(entry.key, "frame", None, at, each.offset - at, said))
        if not is_sound(window, blob_ref(entry.key, each)):
            hurt = None if each.codec == DICTIONARY else each.sha256
            found.append(_payload(entry.key, hurt, each.offset, each.length))
        at = each.offset + each.length
    trailer = window.read(entry.size_bytes - pack.TRAILER.size, pack.TRAILER.size)
    if entries and trailer != _as_written(trailer, entry.size_bytes):
        found.append(Damage(entry.key, "footer", None, at, entry.size_bytes - at, "the pack's trailer differs"))
    known = {(each.sha256, each.offset, each.length, each.crc32c) for each in entries}
    for ref in rows:
        if (ref.sha256, ref.offset, ref.length, ref.crc32c) in known:
            continue
        if not is_sound(window, ref):
            found.append(_payload(entry.key, ref.sha256, ref.offset, ref.length))
        elif entries:
            said = f"the row of blob {ref.sha256} says what the pack does not"
            found.append(Damage(entry.key, "row", ref.sha256, ref.offset, ref.length, said))
    return found


def _payload(key: str, sha256: str | None, offset: int, length: int) -> Damage:
    said = f"blob {sha256} is not what was written" if sha256 else "the dictionary of this pack is damaged"
    return Damage(key, "payload", sha256, offset, length, said)


def _as_written(trailer: bytes, pack_size_bytes: int) -> bytes:
    """The trailer that says the same, padding as it was written."""
    return pack.TRAILER.pack(*pack.parse_trailer(trailer, pack_size_bytes), pack.VERSION, 0, pack.END_MAGIC)


def _large(store: ObjectStore, entry: ObjectInfo, rows: Sequence[BlobRef]) -> list[Damage]:
    sha256, _, codec = entry.key.rsplit("/", 1)[-1].partition(".")
    found: list[Damage] = []
    try:
        large_checksums(store, entry, sha256, codec or RAW)
    except IntegrityError:
        found.append(_payload(entry.key, sha256, 0, entry.size_bytes))
    try:
        ref, _ = parse_about(store.get(about_key(entry.key)), entry.key)
        if (ref.sha256, ref.length) != (sha256, entry.size_bytes):
            raise IntegrityError("the description is that of another blob")
    except (IntegrityError, NotFound) as error:
        said = f"type and device of blob {sha256} are lost but for its row: {error}"
        found.append(Damage(about_key(entry.key), "description", None, 0, 0, said))
    for row in rows:
        if (row.sha256, row.offset, row.length) != (sha256, 0, entry.size_bytes):
            said = f"the row of blob {row.sha256} says what the object does not"
            found.append(Damage(entry.key, "row", row.sha256, 0, entry.size_bytes, said))
    return found
