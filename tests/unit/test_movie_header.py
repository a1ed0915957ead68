"""What a large movie says of itself costs little to read, wherever its index lies; and it is the same."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from lake.media.limits import Limits
from lake.media.movie_header import movie_header
from lake.media.probe_av import probe_media
from lake.media.sniff import sniff
from lake.model import BlobRef, Sniffed, Technical
from lake.store.reader import open_blob
from tests.support.long_movie import SIZE_BYTES, TOLD, long_movie
from tests.support.packs import CountingStore
from tests.support.recordings import Recording, mp4, recordings

HEAD_BYTES = 64 * 1024
MAX_READ_BYTES = 256 * 1024


class CountingFile(io.FileIO):
    """A file that counts the bytes which are read from it."""

    read_bytes = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = super().readinto(buffer) or 0
        self.read_bytes += count
        return count


def facts(stream: BinaryIO, size_bytes: int, name: str) -> tuple[Sniffed, Technical]:
    """What it is and what it says of itself, read as ingest reads it."""
    sniffed = sniff(stream.read(HEAD_BYTES), size_bytes=size_bytes, name=name)
    return sniffed, probe_media(stream, sniffed, size_bytes, Limits())


def check(technical: Technical) -> None:
    for name, value in TOLD.items():
        assert getattr(technical, name) == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), name


@pytest.mark.parametrize("index_first", [True, False], ids=["index-first", "index-last"])
def test_the_facts_of_a_movie_of_gigabytes_cost_little(tmp_path: Path, index_first: bool) -> None:
    path = tmp_path / "long.mp4"
    assert long_movie(path, index_first=index_first) > 4_000_000
    assert path.stat().st_size == SIZE_BYTES
    with CountingFile(path) as file:
        check(facts(io.BufferedReader(file), SIZE_BYTES, path.name)[1])
        assert file.read_bytes <= MAX_READ_BYTES
    store = CountingStore(str(tmp_path))
    with open_blob(store, BlobRef("0" * 64, SIZE_BYTES, path.name, 0, SIZE_BYTES, "raw", None, "video/mp4")) as stream:
        check(facts(stream, SIZE_BYTES, path.name)[1])
    assert sum(length for _, _, length in store.requests) <= MAX_READ_BYTES


@pytest.mark.parametrize(
    "recording", [r for r in recordings() if r.name.endswith((".mp4", ".mov"))], ids=lambda r: r.name
)
def test_a_header_alone_says_what_the_whole_movie_says(recording: Recording) -> None:
    data = recording.data
    header = movie_header(io.BytesIO(data), len(data))
    assert header is not None
    assert len(header) < 2_000
    sniffed, whole = facts(io.BytesIO(data), len(data), "a.mp4")
    alone = probe_media(io.BytesIO(header), sniffed, len(header), Limits())
    assert replace(alone, duration_s=None) == replace(whole, duration_s=None)
    assert alone.duration_s == pytest.approx(whole.duration_s, abs=0.05)


def test_fragments_and_damage_have_no_header_alone() -> None:
    """Their facts come from the whole file, as those of a small one do."""
    whole = mp4()
    assert movie_header(io.BytesIO(b""), 0) is None
    assert movie_header(io.BytesIO(whole[:2000]), 2000) is None
    assert movie_header(io.BytesIO(whole.replace(b"trak", b"mvex")), len(whole)) is None


def test_boxes_in_boxes_without_end_are_not_followed() -> None:
    deep = b""
    for _ in range(5_000):
        deep = struct.pack(">I4s", len(deep) + 8, b"trak") + deep
    wide = struct.pack(">I4s", 8, b"trak") * 20_000
    for content in (deep, wide):
        moov = struct.pack(">I4s", len(content) + 8, b"moov") + content
        assert movie_header(io.BytesIO(moov), len(moov)) is None
