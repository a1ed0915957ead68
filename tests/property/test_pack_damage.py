"""Damaged packs: a read gives the right bytes or an error of the store; never wrong bytes, no other error, no hang."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lake.errors import IntegrityError, StoreError
from lake.model import BlobRef
from lake.store import index as store_index
from lake.store import pack
from lake.store.index import ObjectIndex, index_pack
from lake.store.objects import FolderStore, ObjectInfo
from lake.store.reader import open_blob, read_blob, scan
from tests.support.packs import pack_keys, write_packs

pytestmark = pytest.mark.timeout(400)
SEED = 20260301


@dataclass
class Specimen:
    """One pack, what lies in it, and the file it is damaged in."""

    store: FolderStore
    key: str
    whole: bytes
    contents: dict[BlobRef, bytes]
    devices: dict[BlobRef, str | None]
    starts: dict[BlobRef, int]
    """Where each blob's frame begins."""

    def damage(self, data: bytes, *, every_way: bool = False) -> ObjectIndex:
        """Put other bytes in the pack's place, read everything, and return the index."""
        Path(self.store.root, self.key).write_bytes(data)
        found = index_pack(self.store, ObjectInfo(self.key, len(data)))
        for ref, device in found.blobs:
            assert self.devices[ref] == device, "the index names a blob that was never written"
            if found.way == "frames":
                assert read_blob(self.store, ref) == self.contents[ref]
        for ref, content in self.contents.items():
            for read in (self._whole, self._stream) if every_way else (self._whole,):
                try:
                    assert read(ref) == content
                except StoreError:
                    assert data[self.starts[ref] : ref.offset + ref.length] != self._frame(ref)
        if not every_way:
            return found
        scanned = list(scan(self.store, self.contents))
        assert sorted(ref.offset for ref, _ in scanned) == sorted(ref.offset for ref in self.contents)
        assert all(isinstance(got, IntegrityError) or got == self.contents[ref] for ref, got in scanned)
        return found

    def _whole(self, ref: BlobRef) -> bytes:
        return read_blob(self.store, ref)

    def _stream(self, ref: BlobRef) -> bytes:
        with open_blob(self.store, ref) as stream:
            return stream.read()

    def _frame(self, ref: BlobRef) -> bytes:
        return self.whole[self.starts[ref] : ref.offset + ref.length]

    def must_find(self, data: bytes, found: ObjectIndex) -> None:
        """Every blob whose frame is untouched is in the index; what is not is told, but for what the end hides."""
        names = {ref for ref, _ in found.blobs}
        for ref in self.contents:
            if data[self.starts[ref] : ref.offset + ref.length] == self._frame(ref):
                assert ref in names, f"blob at {ref.offset} is there and was not found"
        if found.way == "frames" and len(names) < len(self.contents):
            missing = [ref for ref in self.contents if ref not in names]
            behind = max((ref.offset + ref.length for ref in names), default=pack.FILE_HEADER.size)
            assert found.findings or min(self.starts[ref] for ref in missing) >= behind


@pytest.fixture(params=[(4 << 20, 256 << 10), (pack.MAX_FRAME_HEADER_BYTES, 32)], ids=["wide", "narrow"])
def specimen(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Specimen:
    """A small pack with empty blobs, equal blobs, a pack as a blob, and magic numbers; read by two sizes of window."""
    monkeypatch.setattr(store_index, "CHUNK_BYTES", request.param[0])
    monkeypatch.setattr(store_index, "TAIL_BYTES", request.param[1])
    inner = FolderStore(str(tmp_path / "inner"))
    write_packs(inner, tmp_path / "scratch", [(b"inner", "text/plain", "in")])
    nested = inner.get(pack_keys(inner)[0])
    blobs = [
        (b"", "text/plain", None),
        (b"first" * 6, "text/plain", "cam-01"),
        (nested, "application/octet-stream", "scanner"),
        (pack.FRAME_MAGIC * 5, "application/octet-stream", None),
        (b"first" * 6, "text/plain", "cam-02"),
        (random.Random(SEED).randbytes(100), "video/mp4", "相机"),
    ]
    store = FolderStore(str(tmp_path / "root"))
    refs = write_packs(store, tmp_path / "scratch", blobs)
    devices = {ref: device for ref, (_, _, device) in zip(refs, blobs, strict=True)}
    ends = [pack.FILE_HEADER.size, *(ref.offset + ref.length for ref in refs)]
    contents = {ref: data for ref, (data, _, _) in zip(refs, blobs, strict=True)}
    key = refs[0].pack_uri
    return Specimen(store, key, store.get(key), contents, devices, dict(zip(refs, ends, strict=False)))


def test_untouched(specimen: Specimen) -> None:
    found = specimen.damage(specimen.whole, every_way=True)
    assert (found.way, found.findings) == ("footer", [])
    assert [ref for ref, _ in found.blobs] == list(specimen.contents)


def test_cut_at_every_length(specimen: Specimen) -> None:
    for length in range(len(specimen.whole)):
        data = specimen.whole[:length]
        found = specimen.damage(data)
        assert found.way in ("frames", "none")
        specimen.must_find(data, found)


def test_a_bit_of_every_byte(specimen: Specimen) -> None:
    bits = random.Random(SEED)
    ways = set()
    for at in range(len(specimen.whole)):
        data = bytearray(specimen.whole)
        data[at] ^= 1 << bits.randrange(8)
        found = specimen.damage(bytes(data))
        ways.add(found.way)
        specimen.must_find(bytes(data), found)
    assert ways == {"footer", "frames"}


def test_a_byte_of_every_frame_when_the_footer_is_gone(specimen: Specimen) -> None:
    last = max(ref.offset + ref.length for ref in specimen.contents)
    for at in range(last):
        data = bytearray(specimen.whole)
        data[at] ^= 0xFF
        data[last:] = bytes(len(data) - last)
        found = specimen.damage(bytes(data))
        specimen.must_find(bytes(data), found)
        if at >= pack.FILE_HEADER.size:
            assert len(found.blobs) == len(specimen.contents) - 1


def _flips(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 12)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _zeros(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.randint(1, 500))
    data[start:end] = bytes(end - start)


def _hole(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 300)]


def _inserted(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    data[start:start] = chance.randbytes(chance.randint(1, 50))


def _copied(data: bytearray, chance: random.Random) -> None:
    start, to = chance.randrange(len(data)), chance.randrange(len(data))
    data[to:to] = data[start : start + chance.randint(1, 400)]


def _noise(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.randint(1, 200))
    data[start:end] = chance.randbytes(end - start)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _tail_lost(data: bytearray, chance: random.Random) -> None:
    data[-pack.TRAILER.size :] = bytes(pack.TRAILER.size)


KINDS: list[Callable[[bytearray, random.Random], None]]
KINDS = [_flips, _zeros, _hole, _inserted, _copied, _noise, _cut, _tail_lost]


def _damages(whole: bytes, count: int) -> Iterator[tuple[int, bytes]]:
    for number in range(count):
        chance = random.Random(SEED + number)
        data = bytearray(whole)
        for kind in chance.choices(KINDS, k=chance.randint(1, 3)):
            if data:
                kind(data, chance)
        yield number, bytes(data)


def test_thousands_of_damages(specimen: Specimen) -> None:
    for number, data in _damages(specimen.whole, 1000):
        try:
            specimen.must_find(data, specimen.damage(data, every_way=True))
        except BaseException:
            print(f"damage {number} of seed {SEED}")
            raise
