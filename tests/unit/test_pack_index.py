"""The index told by the objects alone: packs in packs, large blobs, objects that do not belong, a dead store."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lake.errors import AccessDenied, IntegrityError, StoreError, StoreUnavailable
from lake.model import BlobRef
from lake.store import index as store_index
from lake.store import pack
from lake.store.about import about, about_key, parse_about
from lake.store.index import CHUNK_BYTES, read_index
from lake.store.objects import FolderStore
from lake.store.reader import read_blob
from lake.store.writer import PackWriter, large_key
from tests.support.packs import index_of, pack_keys, sha256_of, without_footer, write_packs


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "root"))


def rewrite(store: FolderStore, key: str, data: bytes) -> None:
    Path(store.root, key).write_bytes(data)


def test_a_pack_stored_as_a_blob_is_one_blob(store: FolderStore, tmp_path: Path) -> None:
    """Also when the frame it lies in is destroyed, and its own frames are the next that can be found."""
    inner = FolderStore(str(tmp_path / "inner"))
    write_packs(inner, tmp_path / "scratch", [(bytes([n]) * 50, "text/plain", "inner") for n in range(20)])
    nested = inner.get(pack_keys(inner)[0])
    blobs = [(b"before", "text/plain", "outer"), (nested, "a/b", "outer"), (nested[8:], "a/b", "outer")]
    refs = write_packs(store, tmp_path / "scratch", [*blobs, (b"after", "text/plain", "outer")])
    key = refs[0].pack_uri
    whole = without_footer(store.get(key))
    rewrite(store, key, whole)
    found = index_of(store, key)
    assert ([ref for ref, _ in found.blobs], found.findings) == (refs, [])
    damaged = bytearray(whole)
    header = refs[0].offset + refs[0].length
    assert damaged[header : header + 4] == pack.FRAME_MAGIC
    damaged[header + 5] ^= 1
    rewrite(store, key, bytes(damaged))
    found = index_of(store, key)
    assert [ref for ref, _ in found.blobs] == [refs[0], refs[2], refs[3]]
    assert len(found.findings) == 1
    assert f"between {header} and" in found.findings[0]


def test_a_damaged_payload_is_told_and_left_out(store: FolderStore, tmp_path: Path) -> None:
    refs = write_packs(store, tmp_path / "scratch", [(bytes([n]) * 5000, "text/plain", None) for n in range(5)])
    key = refs[0].pack_uri
    data = bytearray(without_footer(store.get(key)))
    data[refs[2].offset + 100] ^= 1
    rewrite(store, key, bytes(data))
    found = index_of(store, key)
    assert [ref for ref, _ in found.blobs] == [*refs[:2], *refs[3:]]
    assert len(found.findings) == 1
    assert refs[2].sha256 in found.findings[0]


def test_frames_larger_than_the_window(store: FolderStore, tmp_path: Path) -> None:
    """Memory is that of the window, whatever the size of pack and payloads."""
    contents = [bytes([n]) * (CHUNK_BYTES + n * 1_000_003) for n in range(4)]
    (tmp_path / "scratch").mkdir()
    writer = PackWriter(store, tmp_path / "scratch", max_blob_bytes=1 << 30)
    refs = [writer.add(sha256_of(data), data, "a/b") for data in contents]
    writer.close()
    del contents
    key = refs[0].pack_uri
    rewrite(store, key, without_footer(store.get(key)))
    tracemalloc.start()
    try:
        found = index_of(store, key)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ([ref for ref, _ in found.blobs], found.findings) == (refs, [])
    assert peak_bytes < 4 * CHUNK_BYTES


def test_a_magic_number_over_the_edge_of_a_window(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frame behind a destroyed header is found wherever the windows happen to end."""
    monkeypatch.setattr(store_index, "CHUNK_BYTES", 1000)
    for size in range(1000, 2010, 7):
        refs = write_packs(store, tmp_path / "scratch", [(b"x" * size, "a/b", None), (b"found", "a/b", None)])
        data = bytearray(without_footer(store.get(refs[0].pack_uri)))
        data[pack.FILE_HEADER.size] ^= 1
        rewrite(store, refs[0].pack_uri, bytes(data))
        assert [ref for ref, _ in index_of(store, refs[0].pack_uri).blobs] == [refs[1]], size


def test_magic_numbers_without_end_take_no_time(store: FolderStore) -> None:
    store.put("packs/x.pack", pack.file_header() + pack.FRAME_MAGIC * 100_000)
    found = index_of(store, "packs/x.pack")
    assert (found.way, found.blobs) == ("none", [])
    assert found.findings


def test_a_header_with_names_that_are_no_text(store: FolderStore) -> None:
    fixed = pack.FRAME.pack(pack.FRAME_MAGIC, 0, 0, 0, bytes(32), 0, 1, 0, 0)
    names = b"\xff"
    crc = pack.crc32c(pack.PLACE.pack(8) + fixed + names)
    frame = fixed + pack.FRAME_CRC.pack(crc) + names
    assert pack.parse_frame(frame, 8) is None
    store.put("packs/x.pack", pack.file_header() + frame)
    assert index_of(store, "packs/x.pack").way == "none"


@pytest.mark.parametrize("content", [b"", b"x", b"a note, no pack", bytes(10_000)])
def test_what_is_no_pack_is_a_finding(store: FolderStore, tmp_path: Path, content: bytes) -> None:
    refs = write_packs(store, tmp_path / "scratch", [(b"x", "a/b", None)])
    store.put("packs/note", content)
    indexes = {index.key: index for index in read_index(store)}
    assert indexes["packs/note"].way == "none"
    assert len(indexes["packs/note"].findings) == 1
    assert indexes[refs[0].pack_uri].blobs == [(refs[0], None)]


def test_another_version_is_told(store: FolderStore) -> None:
    trailer = pack.TRAILER.pack(8, 0, 0, 0, 2, 0, pack.END_MAGIC)
    store.put("packs/newer", pack.FILE_HEADER.pack(pack.FILE_MAGIC, 2, 0) + trailer)
    with pytest.raises(IntegrityError, match="version 2, this lake reads 1"):
        pack.parse_trailer(trailer, 8 + len(trailer))
    assert "version 2" in index_of(store, "packs/newer").findings[0]


def test_a_footer_that_was_made_anew_is_noticed(store: FolderStore, tmp_path: Path) -> None:
    """Whole as zlib and as msgpack, of the right number of blobs, in the right place: only its checksum tells."""
    refs = write_packs(store, tmp_path / "scratch", [(bytes([n]) * 100, "a/b", None) for n in range(3)])
    data = store.get(refs[0].pack_uri)
    trailer = pack.parse_trailer(data, len(data))
    entries = pack.parse_footer(data[trailer.footer_offset :][: trailer.footer_length], trailer)
    moved = [replace(entries[0], offset=entries[1].offset), *entries[1:]]
    again = pack.footer_and_trailer(moved, trailer.footer_offset)
    with pytest.raises(IntegrityError, match="checksum"):
        pack.parse_footer(again[: -pack.TRAILER.size], trailer)
    beyond = [*entries[:2], replace(entries[2], length=trailer.footer_offset)]
    for wrong in (beyond, entries[:2]):
        footer = pack.footer_and_trailer(wrong, trailer.footer_offset)[: -pack.TRAILER.size]
        with pytest.raises(IntegrityError, match="cannot hold"):
            pack.parse_footer(footer, trailer._replace(crc32c=pack.crc32c(footer)))


def large(store: FolderStore, tmp_path: Path, content: bytes) -> BlobRef:
    (tmp_path / "scratch").mkdir(exist_ok=True)
    (tmp_path / "scratch" / "spooled").write_bytes(content)
    writer = PackWriter(store, tmp_path / "scratch")
    return writer.add_large(sha256_of(content), tmp_path / "scratch" / "spooled", "video/mp4", "相机")


def test_a_large_blob_by_description_or_content(store: FolderStore, tmp_path: Path) -> None:
    content = b"0123456789" * 1000
    ref = large(store, tmp_path, content)
    (index,) = read_index(store)
    assert (index.way, index.blobs, index.findings) == ("about", [(ref, "相机")], [])
    described = store.get(about_key(ref.pack_uri))
    for damaged in [None, b"", described[:-1], described.replace(b"video", b"audio"), described + b"x"]:
        if damaged is None:
            store.delete(about_key(ref.pack_uri))
        else:
            store.put(about_key(ref.pack_uri), damaged)
        (index,) = read_index(store)
        (found, device) = index.blobs[0]
        assert (index.way, device, found.content_type) == ("content", None, "application/octet-stream")
        assert (found.sha256, found.size_bytes, found.crc32c) == (ref.sha256, ref.size_bytes, ref.crc32c)
        assert read_blob(store, found) == content
        assert len(index.findings) == 1


def test_every_flip_in_a_description_is_noticed(store: FolderStore, tmp_path: Path) -> None:
    ref = large(store, tmp_path, b"x")
    described = about(ref, "cam")
    assert parse_about(described, ref.pack_uri) == (ref, "cam")
    for at in range(len(described)):
        for bit in range(8):
            damaged = bytearray(described)
            damaged[at] ^= 1 << bit
            with pytest.raises(IntegrityError):
                parse_about(bytes(damaged), ref.pack_uri)


@pytest.mark.parametrize("line", [b"[]", b"{}", b"null", b'{"format": 2}', b'{"format": 1}', b"\xff", b"[" * 5000])
def test_a_description_that_is_none(line: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_about(line + b"\n" + f"{pack.crc32c(line):08x}\n".encode(), "blobs/x")


def test_a_large_blob_that_is_damaged_or_under_a_wrong_key(store: FolderStore, tmp_path: Path) -> None:
    ref = large(store, tmp_path, b"content" * 100)
    store.put(ref.pack_uri, b"content" * 99)
    other = sha256_of(b"other")
    store.put(large_key(other), b"not other")
    store.put("blobs/readme.txt", b"x")
    store.put(f"blobs/00/{ref.sha256}", b"content" * 100)
    assert all(index.blobs == [] and len(index.findings) == 1 for index in read_index(store))
    assert len(list(read_index(store))) == 4


@dataclass(frozen=True)
class BrokenStore(FolderStore):
    """A folder whose range reads fail."""

    error: StoreError | None = None

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        if self.error is not None:
            raise self.error
        return super().get_range(key, offset, length)


def test_a_dead_store_raises_and_an_unreadable_object_does_not(store: FolderStore, tmp_path: Path) -> None:
    write_packs(store, tmp_path / "scratch", [(b"x", "a/b", None)])
    for error in (StoreUnavailable("no answer"), AccessDenied("keys")):
        with pytest.raises(type(error)):
            list(read_index(BrokenStore(store.root, error)))
    (index,) = read_index(BrokenStore(store.root, StoreError("bad sector")))
    assert index.way == "none"
    assert "bad sector" in index.findings[0]
