"""Compression without loss: what comes back is what went in, or it is not used."""

from __future__ import annotations

import io
import pickle
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lake.errors import IntegrityError
from lake.store import codec, flac, zstd
from lake.store.codec import STORED, Encoded, decoded, encoded, no_dictionary
from lake.store.compact import CompactContext, move_blobs
from lake.store.index import index_pack
from lake.store.objects import FolderStore
from lake.store.reader import open_blob, read_blob, read_dictionary, scan
from lake.store.recompress import dictionary_for, encoder
from lake.store.writer import PackWriter
from tests.support.packs import CountingStore, sha256_of, without_footer, write_packs
from tests.support.waves import EXTENSIBLE, FLOAT, chunk, fmt, hum, riff

WAVES = {
    "mono": riff(fmt(), chunk(b"data", hum(20_000))),
    "stereo": riff(fmt(2), chunk(b"data", hum(20_000, 2))),
    "six channels": riff(fmt(6), chunk(b"data", hum(3_000, 6))),
    "24 bits, an odd length": riff(fmt(1, 48_000, 24), chunk(b"data", hum(9_999, 1, 24))),
    "extensible": riff(fmt(2, 44_100, 16, EXTENSIBLE), chunk(b"data", hum(9_000, 2))),
    "chunks around": riff(
        chunk(b"bext", b"microphone 7"), fmt(), chunk(b"LIST", b"odd"), chunk(b"data", hum(9_000)), chunk(b"id3 ", b"x")
    ),
    "no samples": riff(fmt(), chunk(b"data", b"")),
}
OTHERS = {
    "8 bits": riff(fmt(1, 8_000, 8), chunk(b"data", hum(9_000, 1, 8))),
    "floats": riff(fmt(1, 16_000, 32, FLOAT), chunk(b"data", bytes(400))),
    "cut off": WAVES["mono"][:-1000],
    "a stream's": WAVES["mono"][:4] + b"\xff\xff\xff\xff" + WAVES["mono"][8:],
    "bytes behind": WAVES["mono"] + b"tail",
    "padding that is not nought": WAVES["24 bits, an odd length"][:-1] + b"\x07",
    "no format": riff(chunk(b"data", hum(100))),
    "half a sample": riff(fmt(2), chunk(b"data", bytes(402))),
    "two of data": riff(fmt(), chunk(b"data", hum(100)), chunk(b"data", hum(100))),
    "empty": b"",
    "text": b"no sound at all",
}


def as_flac(wave: bytes) -> bytes | None:
    sink = io.BytesIO()
    return sink.getvalue() if flac.encode(io.BytesIO(wave), sink) else None


@pytest.mark.parametrize("wave", WAVES.values(), ids=WAVES)
def test_a_wave_comes_back_from_flac_byte_by_byte(wave: bytes) -> None:
    written = as_flac(wave)
    assert written is not None
    assert b"".join(flac.decode(io.BytesIO(written))) == wave


def test_what_is_written_is_a_flac_file_that_others_play() -> None:
    import av

    written = as_flac(WAVES["chunks around"])
    assert written is not None and written[:4] == b"fLaC" and len(written) < 0.7 * len(WAVES["chunks around"])
    with av.open(io.BytesIO(written)) as media:
        played = b"".join(frame.to_ndarray().astype("<i2").tobytes() for frame in media.decode(audio=0))
    assert played == hum(9_000)


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_what_flac_does_not_hold_exactly_is_told(content: bytes) -> None:
    assert as_flac(content) is None
    found = encoded(content, "audio/x-wav")
    assert found.codec != "flac"
    assert decoded(found.payload, found.codec, len(content), no_dictionary) == content


@given(st.binary(max_size=200), st.lists(st.binary(max_size=9), max_size=3), st.sampled_from([16, 24]))
@example(b"", [], 16)
@settings(max_examples=60, deadline=None)
def test_any_wave_comes_back_or_is_left(samples: bytes, chunks: list[bytes], bits: int) -> None:
    wave = riff(fmt(1, 16_000, bits), *(chunk(b"note", body) for body in chunks), chunk(b"data", samples))
    written = as_flac(wave)
    assert (written is None) == bool(len(samples) % (bits // 8))
    if written is not None:
        assert b"".join(flac.decode(io.BytesIO(written))) == wave


def test_what_does_not_pay_is_left_as_it_is() -> None:
    noise = random.Random(1).randbytes(5000)
    assert encoded(noise, "text/plain") == Encoded(STORED, noise)
    letters = b"the same letter again and again. " * 200
    assert encoded(letters, "text/plain").codec == "zstd"
    for kind in ("image/jpeg", "video/mp4", "audio/mpeg", "application/zip"):
        assert encoded(letters, kind) == Encoded(STORED, letters), "it is compressed already by its type"


def test_what_a_codec_gives_is_compared_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zstd, "encode", lambda source, sink, dictionary=None: bool(sink.write(b"other")))
    letters = b"the same letter again and again. " * 200
    with pytest.raises(IntegrityError):
        encoded(letters, "text/plain")
    monkeypatch.setattr(zstd, "decode", lambda source, dictionary: iter([b"other"]))
    assert encoded(letters, "text/plain") == Encoded(STORED, letters)


def test_a_payload_gives_no_more_than_its_content() -> None:
    payload = encoded(bytes(1 << 20), "text/plain").payload
    with pytest.raises(IntegrityError, match="more than its content"):
        decoded(payload, "zstd", 1000, no_dictionary)


def test_a_codec_of_a_newer_lake_is_told() -> None:
    with pytest.raises(IntegrityError, match="newer lake"):
        decoded(b"", "brotli", 0, no_dictionary)


def letters(count: int = 400) -> list[bytes]:
    """Texts that have much in common with each other and little in themselves."""
    draw = random.Random(3)
    words = [draw.randbytes(6).hex() for _ in range(400)]
    head = " ".join(draw.choices(words, k=120))
    return [f"{head} letter {number}: {' '.join(draw.choices(words, k=40))}".encode() for number in range(count)]


class Compressed:
    """A pack of texts with a dictionary, a WAV, and what is not compressed."""

    def __init__(self, folder: Path) -> None:
        self.store = CountingStore(str(folder / "root"))
        blobs = [(text, "text/html", "web") for text in letters()]
        blobs += [(WAVES["stereo"], "audio/x-wav", "mic"), (random.Random(2).randbytes(900), "image/jpeg", "cam")]
        self.contents = {sha256_of(data): data for data, _, _ in blobs}
        raw = write_packs(self.store, folder / "scratch", blobs, 1 << 30)
        self.raw_bytes = sum(ref.length for ref in raw)
        dictionary = dictionary_for(self.store, raw, recompress=True)
        assert dictionary is not None
        self.dictionary_bytes = len(dictionary)
        self.store.delete(raw[0].pack_uri)
        writer = PackWriter(self.store, folder / "scratch", target_bytes=1 << 30, dictionary=dictionary)
        self.refs = [writer.add(sha256_of(data), data, kind, by, encoder("raw", True)) for data, kind, by in blobs]
        writer.close()
        self.key = self.refs[0].pack_uri
        self.whole = Path(self.store.root, self.key).read_bytes()


@pytest.fixture
def compressed(tmp_path: Path) -> Compressed:
    return Compressed(tmp_path)


def test_texts_of_a_pack_share_a_dictionary(compressed: Compressed) -> None:
    alone = sum(len(encoded(text, "text/html").payload) for text in letters())
    together = sum(ref.length for ref in compressed.refs if ref.content_type == "text/html")
    assert together + compressed.dictionary_bytes < 0.7 * alone
    assert {ref.codec for ref in compressed.refs} == {"zstd", "flac", "stored"}
    for ref in compressed.refs:
        assert read_blob(compressed.store, ref) == compressed.contents[ref.sha256]
        with open_blob(compressed.store, ref) as stream:
            assert stream.read() == compressed.contents[ref.sha256]


def test_a_scan_asks_for_the_dictionary_once(compressed: Compressed) -> None:
    compressed.store.requests.clear()
    assert {ref.sha256: data for ref, data in scan(compressed.store, compressed.refs)} == compressed.contents
    assert len(compressed.store.requests) == 3, "the blobs, and head and body of the dictionary"


@pytest.mark.parametrize("way", ["footer", "frames"])
def test_the_index_is_made_from_a_compressed_pack(compressed: Compressed, way: str) -> None:
    if way == "frames":
        Path(compressed.store.root, compressed.key).write_bytes(without_footer(compressed.whole))
    found = index_pack(compressed.store, compressed.store.stat(compressed.key))
    assert (found.way, found.findings) == (way, [])
    assert [ref for ref, _ in found.blobs] == compressed.refs, "and the dictionary is no blob"


def test_a_flipped_bit_gives_the_right_bytes_or_an_error(compressed: Compressed) -> None:
    draw = random.Random(7)
    head = compressed.refs[0].offset
    for at in [draw.randrange(head) for _ in range(20)] + [draw.randrange(len(compressed.whole)) for _ in range(60)]:
        data = bytearray(compressed.whole)
        data[at] ^= 1 << draw.randrange(8)
        Path(compressed.store.root, compressed.key).write_bytes(data)
        wrong = 0
        for ref, content in scan(compressed.store, compressed.refs):
            if isinstance(content, IntegrityError):
                wrong += 1
                assert ref.sha256 in str(content)
            else:
                assert content == compressed.contents[ref.sha256]
        hit = [ref for ref in compressed.refs if ref.offset <= at < ref.offset + ref.length]
        assert wrong == len(hit) or at < head, at


def test_texts_and_their_dictionary_lie_in_one_pack_however_small_the_target(tmp_path: Path) -> None:
    """Else an erased text would leave its words in the dictionary of a pack that never had it."""
    store = FolderStore(str(tmp_path / "root"))
    raw = write_packs(store, tmp_path, [(text, "text/html", None) for text in letters()])
    context = CompactContext(store, 4_000, 8 * 1024**2, str(tmp_path), recompress=True)
    [output] = move_blobs(context, pickle.dumps([(ref, None) for ref in raw]))
    moves, findings, saved_bytes = pickle.loads(output)
    assert (len(moves), findings) == (len(raw), [])
    assert len({ref.pack_uri for _, ref in moves}) == 1
    assert read_dictionary(store, moves[0][1].pack_uri)
    assert saved_bytes == sum(ref.length for ref in raw) - sum(ref.length for _, ref in moves)


def test_a_new_pack_of_the_same_writer_has_no_dictionary(tmp_path: Path) -> None:
    """Parts of texts are in a dictionary: those of a pack must not outlive it in another one."""
    store = FolderStore(str(tmp_path / "root"))
    dictionary = zstd.train(letters())
    assert dictionary is not None
    writer = PackWriter(store, tmp_path, target_bytes=4_000, dictionary=dictionary)
    refs = [writer.add(sha256_of(text), text, "text/html", None, codec.encoded) for text in letters(40)]
    writer.close()
    assert len({ref.pack_uri for ref in refs}) > 1
    for ref, text in zip(refs, letters(40), strict=True):
        assert read_blob(store, ref) == text
        held = dictionary in store.get(ref.pack_uri)
        assert held == (ref.pack_uri == refs[0].pack_uri)
