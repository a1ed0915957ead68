"""Writing packs: uploaded, verified, and only then referred to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from lake.errors import IntegrityError, StoreError, UsageError
from lake.store import pack
from lake.store.about import SUFFIX, about_key
from lake.store.index import read_index
from lake.store.objects import FolderStore
from lake.store.reader import open_blob, read_blob
from lake.store.writer import PackWriter, large_key
from tests.support.packs import index_of, pack_keys, sha256_of


@dataclass(frozen=True)
class LossyStore(FolderStore):
    """A folder that keeps only a part of what is put, or other bytes."""

    lost_bytes: int = 0
    damaged_at: int | None = None

    def put(self, key: str, data: bytes | Path) -> None:
        kept = bytearray(data if isinstance(data, bytes) else data.read_bytes())
        if not key.endswith(SUFFIX):
            kept = kept[: len(kept) - self.lost_bytes]
            if self.damaged_at is not None:
                kept[self.damaged_at] ^= 1
        super().put(key, bytes(kept))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path / "root"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_packs_are_cut_at_the_target_and_keep_the_order(store: FolderStore, scratch: Path) -> None:
    writer = PackWriter(store, scratch, target_bytes=10_000)
    contents = [bytes([number]) * 3000 for number in range(10)]
    refs = [writer.add(sha256_of(data), data, "a/b", "cam") for data in contents]
    writer.close()
    assert [read_blob(store, ref) for ref in refs] == contents
    assert [len(index_of(store, key).blobs) for key in dict.fromkeys(ref.pack_uri for ref in refs)] == [4, 4, 2]
    assert list(scratch.iterdir()) == []
    writer.close()
    assert len(pack_keys(store)) == 3


def test_nothing_written_is_no_pack(store: FolderStore, scratch: Path) -> None:
    PackWriter(store, scratch).close()
    assert not Path(store.root).exists()


def test_a_pack_has_at_most_so_many_blobs(store: FolderStore, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MAX_BLOBS", 10)
    writer = PackWriter(store, scratch)
    refs = [writer.add(sha256_of(b""), b"", f"type/{number}", f"cam-{number}") for number in range(25)]
    writer.close()
    assert sorted(len(index_of(store, key).blobs) for key in pack_keys(store)) == [5, 10, 10]
    assert {device for index in read_index(store) for _, device in index.blobs} == {f"cam-{n}" for n in range(25)}
    assert len({ref.pack_uri for ref in refs}) == 3


def test_names_of_the_fullest_pack_fit_their_numbers() -> None:
    entries = [
        pack.Entry(sha256_of(b""), 8, 0, 0, 0, "raw", f"type/{number}", f"cam-{number}")
        for number in range(pack.MAX_BLOBS)
    ]
    data = pack.footer_and_trailer(entries, 8)
    trailer = pack.parse_trailer(data, 8 + len(data))
    assert pack.parse_footer(data[: trailer.footer_length], trailer) == entries


@pytest.mark.parametrize(("lost", "damaged_at"), [(1, None), (5000, None), (0, -1), (0, -40)])
def test_a_bad_upload_is_an_error(tmp_path: Path, scratch: Path, lost: int, damaged_at: int | None) -> None:
    writer = PackWriter(LossyStore(str(tmp_path / "root"), lost, damaged_at), scratch)
    writer.add(sha256_of(b"x" * 9000), b"x" * 9000, "a/b")
    with pytest.raises(IntegrityError):
        writer.close()


def test_a_blob_too_large_for_a_pack_is_refused(store: FolderStore, scratch: Path) -> None:
    writer = PackWriter(store, scratch, max_blob_bytes=100)
    writer.add(sha256_of(b"x" * 99), b"x" * 99, "a/b")
    with pytest.raises(UsageError):
        writer.add(sha256_of(b"x" * 100), b"x" * 100, "a/b")


def test_no_room_to_spool_is_one_line(store: FolderStore, tmp_path: Path) -> None:
    writer = PackWriter(store, tmp_path / "gone")
    with pytest.raises(StoreError, match="gone"):
        writer.add(sha256_of(b"x"), b"x", "a/b")


def test_a_large_blob_has_its_own_key_and_says_what_it_is(store: FolderStore, scratch: Path) -> None:
    content = os.urandom(3_000_000)
    sha256 = sha256_of(content)
    for device in ("cam-01", "cam-02"):
        (scratch / "spooled").write_bytes(content)
        ref = PackWriter(store, scratch).add_large(sha256, scratch / "spooled", "video/mp4", device)
        (scratch / "spooled").unlink()
        assert ref.pack_uri == large_key(sha256) == f"blobs/{sha256[:2]}/{sha256}"
        with open_blob(store, ref) as stream:
            assert stream.read() == content
        (index,) = read_index(store)
        assert (index.way, index.blobs, index.findings) == ("about", [(ref, device)], [])
    assert sorted(entry.key for entry in store.list("")) == [ref.pack_uri, about_key(ref.pack_uri)]


def test_a_large_blob_that_is_there_in_part_is_made_whole(store: FolderStore, scratch: Path) -> None:
    content = b"x" * 1000
    store.put(large_key(sha256_of(content)), content[:-1])
    (scratch / "spooled").write_bytes(content)
    ref = PackWriter(store, scratch).add_large(sha256_of(content), scratch / "spooled", "video/mp4")
    assert read_blob(store, ref) == content


def test_a_large_blob_that_arrives_in_part_is_told(tmp_path: Path, scratch: Path) -> None:
    content = b"x" * 1000
    (scratch / "spooled").write_bytes(content)
    writer = PackWriter(LossyStore(str(tmp_path / "root"), 1), scratch)
    with pytest.raises(IntegrityError, match="999"):
        writer.add_large(sha256_of(content), scratch / "spooled", "video/mp4")
