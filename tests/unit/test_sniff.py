"""What a content is, is told by its bytes: under its own name, another's and none."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from typing import Any

import pytest

from lake.media.containers import MAX_DIRECTORY_BYTES, inside_zip
from lake.media.sniff import UNKNOWN, claimed_but_absent, sniff
from lake.model import Sniffed
from tests.support.documents import zipped
from tests.support.recordings import Recording, recordings

HEADERLESS = ("a.gsm", "a.raw")


def sniffed(data: bytes, name: str) -> Sniffed:
    return sniff(data[:65536], size_bytes=len(data), name=name, data=data)


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.name)
def test_the_type_is_known(recording: Recording) -> None:
    assert sniffed(recording.data, recording.name) == Sniffed(recording.content_type, recording.media_kind)


@pytest.mark.parametrize("recording", recordings(), ids=lambda r: r.name)
@pytest.mark.parametrize("name", ["", "x.mp4", "x.txt", "x.wav"])
def test_a_wrong_name_changes_nothing(recording: Recording, name: str) -> None:
    found = sniffed(recording.data, name)
    if recording.name in HEADERLESS:
        assert found == UNKNOWN
    else:
        assert found == Sniffed(recording.content_type, recording.media_kind)


@pytest.mark.parametrize(
    "recording", [r for r in recordings() if r.name not in ("a.gsm", "a.jsonl")], ids=lambda r: r.name
)
def test_the_kind_of_what_is_cut_off_is_still_known(recording: Recording) -> None:
    """But for those of which nothing says what they were without whole frames or lines."""
    cut = recording.data[: max(len(recording.data) * 6 // 10, 8)]
    assert sniffed(cut, recording.name).media_kind == recording.media_kind


def test_random_bytes_never_raise_and_are_nothing_known() -> None:
    lots = random.Random(5)
    for length in (1, 2, 7, 8, 16, 100, 1000, 70_000):
        for _ in range(40):
            data = lots.randbytes(length)
            assert isinstance(sniffed(data, "x.mp4"), Sniffed)
    assert sniffed(lots.randbytes(20_000), "x.mp4") == UNKNOWN


def test_signatures_followed_by_noise_never_raise() -> None:
    lots = random.Random(6)
    for recording in recordings():
        for keep in (4, 8, 16, 64, 256):
            sniffed(recording.data[:keep] + lots.randbytes(500), recording.name)


@pytest.mark.parametrize(
    ("text", "content_type"),
    [
        ("From nobody Mon Jan  1 00:00:00 2024\nSubject: x\n\nbody", "application/mbox"),
        ("<!-- a --> <!-- b -- c -->\n<HTML><p>", "text/html"),
        ("<?xml version='1.0'?><note/>", "text/xml"),
        ('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        ("ffconcat version 1.0\nfile '/etc/passwd'\n", "text/plain"),
        ("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "text/plain"),
        ("a\tb\tc\n1\t2\t3\n4\t5\t6\n", "text/tab-separated-values"),
        ('{"one": {"two": 3}}', "application/json"),
        ("Dear all, first, second, third.\nNothing else.\n", "text/plain"),
    ],
)
def test_text_is_told_apart(text: str, content_type: str) -> None:
    assert sniffed(text.encode(), "x.avi").content_type == content_type


def test_a_name_that_promises_a_format_makes_noise_damaged() -> None:
    assert "not a video" in (claimed_but_absent("x/y.MP4", UNKNOWN) or "")
    assert "not an image" in (claimed_but_absent("y.png", UNKNOWN) or "")
    assert claimed_but_absent("y.mp4", Sniffed("image/png", "image")) is None
    assert claimed_but_absent("y.dat", UNKNOWN) is None


@pytest.mark.timeout(30)
def test_no_text_is_looked_at_for_ever() -> None:
    assert sniffed(b"<!---->" * 40 + b"<p>", "x.html").content_type == "text/plain"
    parts = zipped({"[Content_Types].xml": '"application/vnd.ms-' + "a" * 262_000})
    assert sniffed(parts, "x.docx").content_type == "application/zip"


@pytest.mark.parametrize("name", ["mimetype", "[Content_Types].xml"])
def test_of_a_zip_nothing_is_unpacked_that_has_no_bound(name: str) -> None:
    """4 KiB that are packed by bzip2 may unpack to gigabytes before zipfile gives the first byte of them."""
    office = '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"'
    for method, is_read in ((zipfile.ZIP_DEFLATED, True), (zipfile.ZIP_BZIP2, False), (zipfile.ZIP_LZMA, False)):
        with zipfile.ZipFile(packed := io.BytesIO(), "w", method) as archive:
            archive.writestr(name, "application/epub+zip" if name == "mimetype" else office)
        assert (inside_zip(packed, b"PK\3\4").media_kind == "document") == is_read


class Watched(io.BytesIO):
    """Notes the most bytes that were read at once."""

    most = 0

    def read(self, size: Any = -1) -> bytes:
        data = super().read(size)
        self.most = max(self.most, len(data))
        return data


def end_record(disks: bytes, size_bytes: int) -> bytes:
    """The end of a zip with one entry (APPNOTE 4.3.16)."""
    return b"PK\5\6" + disks + struct.pack("<HHIIH", 1, 1, size_bytes, 0, 0)


@pytest.mark.parametrize("way", ["plain", "zip64", "looks like two"])
def test_of_a_zip_no_large_directory_is_read(way: str) -> None:
    size_bytes = 2 * MAX_DIRECTORY_BYTES
    ends = {"plain": end_record(bytes(4), size_bytes), "looks like two": end_record(b"PK\5\6", size_bytes)}
    head = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size_bytes, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, size_bytes, 1)
    ends["zip64"] = head + locator + end_record(bytes(4), 0)
    stream = Watched(b"PK\1\2" + bytes(size_bytes - 4) + ends[way])
    assert inside_zip(stream, b"PK\3\4") == Sniffed("application/zip", "other")
    assert stream.most <= MAX_DIRECTORY_BYTES + 1
