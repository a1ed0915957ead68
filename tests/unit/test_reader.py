"""Reading blobs: few requests, bounded memory, and what is damaged costs only itself."""

from __future__ import annotations

import io
import random
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lake.errors import AccessDenied, IntegrityError, StoreError, StoreUnavailable
from lake.model import BlobRef
from lake.store.objects import FolderStore
from lake.store.pack import crc32c
from lake.store.prefetch import MAX_AHEAD_BYTES
from lake.store.reader import FIRST_REQUEST_BYTES, MAX_REQUEST_BYTES, open_blob, read_blob, scan
from tests.support.packs import CountingStore, sha256_of, write_packs

pytestmark = pytest.mark.timeout(60)


@dataclass(frozen=True)
class FailingStore(FolderStore):
    """A folder that stops answering after some requests."""

    error: BaseException = field(default_factory=lambda: StoreUnavailable("no answer"))
    after: int = 0
    seen: list[int] = field(default_factory=list)

    def get_ranges(self, key: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.seen.append(len(ranges))
        if len(self.seen) > self.after:
            raise self.error
        return super().get_ranges(key, ranges)


def stored(tmp_path: Path, sizes: Sequence[int], target_bytes: int = 1 << 30) -> tuple[list[BlobRef], list[bytes]]:
    """Blobs of these sizes in packs below ``tmp_path/root``."""
    chance = random.Random(1)
    contents = [chance.randbytes(size) for size in sizes]
    blobs = [(data, "application/octet-stream", None) for data in contents]
    return write_packs(FolderStore(str(tmp_path / "root")), tmp_path / "scratch", blobs, target_bytes), contents


def prefetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("lake-prefetch")]


def test_near_blobs_take_one_request(tmp_path: Path) -> None:
    refs, contents = stored(tmp_path, [30_000] * 50 + [0] * 5)
    store = CountingStore(str(tmp_path / "root"))
    assert [data for _, data in scan(store, refs)] == contents
    assert len(store.requests) == 1


@pytest.mark.parametrize(("gap", "requests"), [(250_000, 1), (270_000, 2)])
def test_a_gap_is_read_over_when_it_is_small(tmp_path: Path, gap: int, requests: int) -> None:
    refs, contents = stored(tmp_path, [1000, gap, 1000])
    store = CountingStore(str(tmp_path / "root"))
    assert [data for _, data in scan(store, [refs[2], refs[0]])] == [contents[0], contents[2]]
    assert len(store.requests) == requests


def test_requests_are_bounded_and_in_order(tmp_path: Path) -> None:
    refs, contents = stored(tmp_path, [3_000_000] * 14 + [7_000_000, 10], target_bytes=25_000_000)
    assert len({ref.pack_uri for ref in refs}) == 2
    store = CountingStore(str(tmp_path / "root"))
    shuffled = list(refs)
    random.Random(3).shuffle(shuffled)
    got = dict(scan(store, shuffled))
    assert [got[ref] for ref in refs] == contents
    assert list(got) == sorted(refs, key=lambda ref: (ref.pack_uri, ref.offset))
    assert all(length <= MAX_REQUEST_BYTES for _, _, length in store.requests)
    assert len(store.requests) == 4


@pytest.mark.parametrize("size_bytes", [4_000_001, 7_999_999, 40_000_001])
def test_all_requests_but_the_last_are_full_and_blobs_are_cut(tmp_path: Path, size_bytes: int) -> None:
    """One GET for 16 MiB, whatever the blobs' sizes are: a blob may begin in one request and end in a later one."""
    store = CountingStore(str(tmp_path / "root"))
    contents = [random.Random(number).randbytes(size_bytes) for number in range(80_000_000 // size_bytes)]
    store.put("blobs/pack", b"".join(contents))
    refs = [
        BlobRef(sha256_of(data), size_bytes, "blobs/pack", number * size_bytes, size_bytes, "raw", crc32c(data), "x/y")
        for number, data in enumerate(contents)
    ]
    assert [data for _, data in scan(store, refs)] == contents
    whole_bytes = size_bytes * len(contents)
    assert sum(length for _, _, length in store.requests) == whole_bytes
    assert len(store.requests) == -(-whole_bytes // MAX_REQUEST_BYTES)


def test_a_lost_request_costs_no_blob_that_ends_in_another(tmp_path: Path) -> None:
    """A blob that a failed request cuts is asked for alone, like those within it."""
    refs, contents = stored(tmp_path, [5_000_000] * 8)
    path = tmp_path / "root" / refs[0].pack_uri
    path.write_bytes(path.read_bytes()[: refs[5].offset + 100])
    got = [data for _, data in scan(FolderStore(str(tmp_path / "root")), refs)]
    assert got[:5] == contents[:5]
    assert all(isinstance(data, IntegrityError) for data in got[5:])


def test_rows_that_cannot_be_right_cost_only_themselves(tmp_path: Path) -> None:
    refs, contents = stored(tmp_path, [1000] * 4)
    wrong = [
        replace(refs[1], length=1 << 61),
        replace(refs[1], length=900_000),
        replace(refs[1], offset=-5),
        replace(refs[1], length=-5),
    ]
    store = CountingStore(str(tmp_path / "root"))
    got = list(scan(store, [*refs, *wrong, refs[2]]))
    assert [data for ref, data in got if ref == refs[1]] == [contents[1]]
    assert [data for ref, data in got if ref == refs[2]] == [contents[2]] * 2
    assert all(isinstance(data, IntegrityError) for ref, data in got if ref in wrong)
    assert len(got) == 9
    assert len(store.requests) < 20


def test_a_damaged_blob_costs_only_itself(tmp_path: Path) -> None:
    refs, contents = stored(tmp_path, [1000] * 20)
    pack = tmp_path / "root" / refs[0].pack_uri
    data = bytearray(pack.read_bytes())
    data[refs[7].offset + 500] ^= 1
    pack.write_bytes(data)
    store = CountingStore(str(tmp_path / "root"))
    got = [each for _, each in scan(store, refs)]
    assert isinstance(got[7], IntegrityError)
    assert refs[7].sha256 in str(got[7])
    assert got[:7] + got[8:] == contents[:7] + contents[8:]
    assert len(store.requests) == 1


def test_a_cut_pack_and_a_lost_pack_cost_only_their_blobs(tmp_path: Path) -> None:
    refs, contents = stored(tmp_path, [1000] * 30, target_bytes=10_000)
    packs = sorted({ref.pack_uri for ref in refs})
    assert len(packs) >= 3
    cut = [ref for ref in refs if ref.pack_uri == packs[0]]
    path = tmp_path / "root" / packs[0]
    path.write_bytes(path.read_bytes()[: cut[4].offset + 10])
    (tmp_path / "root" / packs[1]).unlink()
    wrong = {*cut[4:], *(ref for ref in refs if ref.pack_uri == packs[1])}
    store = FolderStore(str(tmp_path / "root"))
    expected = dict(zip(refs, contents, strict=True))
    for ref, data in scan(store, refs):
        assert isinstance(data, IntegrityError) if ref in wrong else data == expected[ref]


@pytest.mark.parametrize("error", [StoreUnavailable("no answer"), AccessDenied("wrong keys")])
@pytest.mark.parametrize("after", [0, 2])
def test_a_dead_store_raises(tmp_path: Path, error: StoreError, after: int) -> None:
    refs, _ = stored(tmp_path, [1000] * 30, target_bytes=5_000)
    with pytest.raises(type(error)):
        list(scan(FailingStore(str(tmp_path / "root"), error, after), refs))
    assert prefetching() == []


def test_a_store_that_dies_after_the_request_that_was_cut(tmp_path: Path) -> None:
    refs, _ = stored(tmp_path, [1000] * 5)
    path = tmp_path / "root" / refs[0].pack_uri
    path.write_bytes(path.read_bytes()[: refs[3].offset])
    with pytest.raises(StoreUnavailable):
        list(scan(FailingStore(str(tmp_path / "root"), after=1), refs))


def test_a_bug_in_the_thread_is_raised_and_not_waited_for(tmp_path: Path) -> None:
    refs, _ = stored(tmp_path, [10])
    with pytest.raises(ZeroDivisionError):
        list(scan(FailingStore(str(tmp_path / "root"), ZeroDivisionError()), refs))


def test_an_abandoned_scan_ends_its_thread(tmp_path: Path) -> None:
    refs, contents = stored(tmp_path, [2_000_000] * 60, target_bytes=2_000_000)
    store = CountingStore(str(tmp_path / "root"))
    scanning = scan(store, refs)
    assert isinstance(scanning, Iterator)
    assert next(iter(scanning))[1] in contents
    assert prefetching()
    scanning.close()
    assert prefetching() == []
    assert sum(length for _, _, length in store.requests) <= MAX_AHEAD_BYTES
    assert list(scan(store, [])) == []
    assert prefetching() == []


def test_memory_is_bounded_by_the_requests_in_flight(tmp_path: Path) -> None:
    refs, _ = stored(tmp_path, [4_000_000] * 60)
    store = FolderStore(str(tmp_path / "root"))
    tracemalloc.start()
    try:
        count = sum(len(data) for _, data in scan(store, refs) if isinstance(data, bytes))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 240_000_000
    assert peak_bytes < MAX_AHEAD_BYTES + 2 * MAX_REQUEST_BYTES


@pytest.mark.parametrize("changed", ["crc32c", "sha256", "size_bytes", "offset", "codec"])
def test_a_wrong_reference_is_an_error(tmp_path: Path, changed: str) -> None:
    refs, contents = stored(tmp_path, [1000, 1000])
    store = FolderStore(str(tmp_path / "root"))
    assert read_blob(store, refs[0]) == contents[0]
    wrong = {"crc32c": crc32c(b"x"), "sha256": sha256_of(b"x"), "size_bytes": 999, "offset": 9, "codec": "zstd"}
    ref = replace(refs[0], **{changed: wrong[changed]})
    with pytest.raises(IntegrityError) as caught:
        read_blob(store, ref)
    assert "\n" not in str(caught.value)


def test_a_stream_reads_little_where_it_seeks_and_much_where_it_goes_on(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path / "root"))
    content = random.Random(4).randbytes(70_000_000)
    store.put("blobs/large", content)
    ref = BlobRef(sha256_of(content), len(content), "blobs/large", 0, len(content), "raw", None, "x/y")
    with open_blob(store, ref) as stream:
        for place in (60_000_000, 5, 30_000_000):
            stream.seek(place)
            assert stream.read(100) == content[place : place + 100]
        assert [length for _, _, length in store.requests] == [FIRST_REQUEST_BYTES] * 3
        store.requests.clear()
        stream.seek(0)
        assert b"".join(iter(lambda: stream.read(1000), b"")) == content
    lengths = [length for _, _, length in store.requests]
    assert sum(lengths) == len(content)
    assert lengths[:-1] == sorted(lengths[:-1])
    assert max(lengths) == MAX_REQUEST_BYTES
    assert len(lengths) < 20


def test_a_stream_seeks_and_verifies_what_is_read_to_its_end(tmp_path: Path) -> None:
    store = CountingStore(str(tmp_path / "root"))
    content = random.Random(2).randbytes(5_000_000)
    store.put("blobs/large", content)
    ref = BlobRef(sha256_of(content), len(content), "blobs/large", 0, len(content), "raw", crc32c(content), "x/y")
    with open_blob(store, ref) as stream:
        assert stream.seek(-10, io.SEEK_END) == len(content) - 10
        assert stream.read() == content[-10:]
        assert stream.read() == b""
        stream.seek(1_000_000)
        assert stream.read(100) == content[1_000_000:1_000_100]
        assert stream.seek(10, io.SEEK_CUR) == stream.tell() == 1_000_110
        stream.seek(0)
        assert stream.read() == content
    assert max(length for _, _, length in store.requests) <= MAX_REQUEST_BYTES
    damaged = bytearray(content)
    damaged[4_000_000] ^= 1
    store.put("blobs/large", bytes(damaged))
    with open_blob(store, ref) as stream, pytest.raises(IntegrityError):
        while stream.read(100_000):
            pass
    store.put("blobs/large", content[:-1])
    with open_blob(store, ref) as stream, pytest.raises(StoreError):
        stream.read()
