"""docs/pack-format.md says what the code does: its example is made again, its program reads a pack."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import msgpack
import pytest

from lake.model import BlobRef
from lake.store import pack
from lake.store.about import about
from lake.store.objects import FolderStore
from lake.store.pack import Entry
from lake.store.writer import large_key
from tests.support.packs import Blob, index_of, pack_keys, sha256_of, write_packs

DOCUMENT = (Path(__file__).parents[2] / "docs" / "pack-format.md").read_text(encoding="utf-8")
EXAMPLE: list[Blob] = [
    (b"Hello, lake!\n", "text/plain", "cam-01"),
    (bytes([0, 1, 2, 3]), "application/octet-stream", None),
]


def block(name: str) -> str:
    """The text of the one code block of this kind."""
    (found,) = re.findall(rf"^```{name}\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
    return str(found)


def documented_pack() -> bytes:
    data = b""
    for line in block("hex").splitlines():
        place, _, digits = line.partition("  ")
        assert int(place, 16) == len(data)
        data += bytes.fromhex(digits)
    return data


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """The example, written as the lake writes it."""
    store = FolderStore(str(tmp_path / "root"))
    write_packs(store, tmp_path / "scratch", EXAMPLE)
    return store


def test_the_example_is_what_the_writer_makes(store: FolderStore) -> None:
    (key,) = pack_keys(store)
    made, told = store.get(key), documented_pack()
    trailer = pack.parse_trailer(told, len(told))
    # Another zlib may compress the footer otherwise: the frames are compared byte for byte, the footers by content.
    assert made[: trailer.footer_offset] == told[: trailer.footer_offset]
    of_made = pack.parse_trailer(made, len(made))
    assert (of_made.footer_offset, of_made.blobs) == (trailer.footer_offset, trailer.blobs) == (0xB1, 2)
    footers = [zlib.decompress(data[0xB1 : -pack.TRAILER.size]) for data in (made, told)]
    assert footers[0] == footers[1] == bytes.fromhex(block("hex-footer"))
    assert msgpack.unpackb(footers[0])[0] == ["text/plain", "cam-01", "application/octet-stream", ""]


def test_the_example_reads_as_told(store: FolderStore) -> None:
    told = documented_pack()
    assert f"{len(told)} bytes" in DOCUMENT
    trailer = pack.parse_trailer(told, len(told))
    footer = told[trailer.footer_offset :][: trailer.footer_length]
    entries = pack.parse_footer(footer, trailer)
    assert entries == [
        Entry(sha256_of(data), offset, len(data), len(data), pack.crc32c(data), "raw", kind, device)
        for (data, kind, device), offset in zip(EXAMPLE, (0x50, 0xAD), strict=True)
    ]
    assert [pack.parse_frame(told[at:], at) for at in (0x08, 0x5D)] == entries
    for entry, (data, _, _) in zip(entries, EXAMPLE, strict=True):
        assert told[entry.offset :][: entry.length] == data
    said = f"crc32c `{entries[0].crc32c:08x}`, sha256 `{entries[0].sha256[:8]}…{entries[0].sha256[-8:]}`"
    assert said in DOCUMENT
    assert f"crc32c `{trailer.crc32c:08x}`, 2 blobs" in DOCUMENT
    Path(store.root, "packs", "told").write_bytes(told)
    assert index_of(store, "packs/told").way == "footer"


def test_the_program_reads_packs_without_this_project(store: FolderStore) -> None:
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/pack-format.md", "exec"), names)  # the document's own program
    imported = re.findall(r"^(?:import|from) (\w+)", block("python"), re.MULTILINE)
    assert imported == ["hashlib", "struct"]
    (key,) = pack_keys(store)
    read = list(names["blobs"](Path(store.root, key)))
    assert read == [(kind, device or "", data) for data, kind, device in EXAMPLE]


def test_the_description_of_a_large_blob() -> None:
    content = b"x" * 9_000_000
    sha256 = sha256_of(content)
    ref = BlobRef(sha256, len(content), large_key(sha256), 0, len(content), "raw", pack.crc32c(content), "video/mp4")
    assert block("about").encode() == about(ref, "cam-01")


def test_sizes_told_are_those_of_the_code() -> None:
    assert (pack.FILE_HEADER.size, pack.FRAME_HEADER_BYTES, pack.ENTRY.size, pack.TRAILER.size) == (8, 56, 57, 32)
    for text in ("File header: 8 bytes", "Frame: 56 bytes", "57 bytes a blob", "last 32 bytes", "at most 32,000 blobs"):
        assert text in DOCUMENT
    assert pack.MAX_BLOBS == 32_000
