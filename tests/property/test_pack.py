"""Packs against random contents: what goes in comes out by footer, by frames, by single reads and by scans."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.model import BlobRef
from lake.store import pack
from lake.store.index import ObjectIndex, read_index
from lake.store.objects import FolderStore
from lake.store.reader import open_blob, read_blob, scan
from tests.support.packs import Blob, pack_keys, sha256_of, without_footer, write_packs

DETERMINISTIC = settings(
    derandomize=True, max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def frame(at: int, data: bytes, kind: str, device: str | None) -> bytes:
    """A frame header at a place, without its payload."""
    return pack.frame_header(at, len(data), pack.crc32c(data), len(data), sha256_of(data), "raw", kind, device)


PACK = pack.file_header() + frame(8, b"inner", "text/plain", "nested")
CONTENTS = st.one_of(
    st.just(b""),
    st.binary(max_size=200),
    st.binary(min_size=1, max_size=1).map(lambda byte: byte * 70_000),
    st.sampled_from([pack.FRAME_MAGIC, pack.FRAME_MAGIC * 30, pack.END_MAGIC, pack.FILE_MAGIC, PACK + b"inner"]),
)
NAMES = st.one_of(st.text(max_size=12), st.sampled_from(["cam-01", "相机一号", "x" * 255, "设" * 200, "a" + "é" * 300]))
BLOBS = st.lists(st.tuples(CONTENTS, NAMES, st.none() | NAMES), min_size=1, max_size=25)
TARGETS = st.sampled_from([1, 1000, 100_000, 10_000_000])


def rows(indexes: Iterator[ObjectIndex]) -> list[tuple[BlobRef, str | None]]:
    """Every blob of some indexes, none of which found damage, in the order of their places."""
    found = []
    for index in indexes:
        assert index.findings == []
        found += index.blobs
    return sorted(found, key=lambda each: (each[0].pack_uri, each[0].offset))


@DETERMINISTIC
@given(blobs=BLOBS, target_bytes=TARGETS)
def test_round_trip(blobs: list[Blob], target_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(f"{folder}/root")
        refs = write_packs(store, Path(folder, "scratch"), blobs, target_bytes)
        expected = sorted(
            zip(refs, (pack.short_name(device) for _, _, device in blobs), strict=True),
            key=lambda each: (each[0].pack_uri, each[0].offset),
        )
        by_ref = {(ref.pack_uri, ref.offset, ref.length): data for ref, (data, _, _) in zip(refs, blobs, strict=True)}
        assert rows(read_index(store)) == expected
        for ref, (data, kind, _) in zip(refs, blobs, strict=True):
            assert (ref.sha256, ref.size_bytes, ref.codec) == (sha256_of(data), len(data), "raw")
            assert ref.content_type == (pack.short_name(kind) or "")
            assert read_blob(store, ref) == open_blob(store, ref).read() == data
        scanned = list(scan(store, reversed(refs)))
        assert len(scanned) == len(refs)
        assert all(by_ref[ref.pack_uri, ref.offset, ref.length] == data for ref, data in scanned)
        for key in pack_keys(store):
            store.put(key, without_footer(store.get(key)))
        by_frames = list(read_index(store))
        assert {index.way for index in by_frames} == {"frames"}
        assert rows(iter(by_frames)) == expected


@DETERMINISTIC
@given(name=st.text() | st.text(alphabet="aé设😀\ud800", min_size=200, max_size=300))
def test_names_are_cut_to_whole_characters(name: str) -> None:
    short = pack.short_name(name) or ""
    assert len(short.encode()) <= 255
    whole = name.encode("utf-8", "replace").decode()
    assert whole.startswith(short)
    if len(whole.encode()) <= 255:
        assert short == whole
    else:
        assert len((short + whole[len(short)]).encode()) > 255
    entry = pack.parse_frame(frame(7, b"", name, name), 7)
    assert entry is not None
    assert (entry.content_type, entry.device_id) == (short, short or None)


@DETERMINISTIC
@given(data=st.binary(max_size=300), at=st.integers(0, 1 << 40))
def test_any_bytes_are_a_frame_or_none(data: bytes, at: int) -> None:
    assert pack.parse_frame(data, at) is None
    assert pack.parse_frame(pack.FRAME_MAGIC + data, at) is None


def test_a_frame_is_one_at_its_own_place_only() -> None:
    header = frame(1000, b"x", "text/plain", None)
    assert pack.parse_frame(header, 1000) is not None
    assert all(pack.parse_frame(header, at) is None for at in range(2000) if at != 1000)
