"""Recompression: fewer bytes in the store, the same bytes out of it, and nothing of an erased text left behind."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.engine.local import LocalEngine
from lake.errors import IntegrityError, LakeError
from lake.store.index import read_index
from lake.store.reader import open_blob, read_dictionary
from tests.integration.test_upkeep import age, all_read, flip, read_all
from tests.support.canary import files, traces
from tests.support.lakes import Lake, bucket_lake, new_lake
from tests.support.minio import MinioServer
from tests.support.waves import chunk, fmt, hum, riff

pytestmark = pytest.mark.timeout(300)

CANARY = "Zaunkönig-7731"
COMPRESSED = ("hall.wav", "long.wav", "scan.pgm", "long.csv")
LEFT = ("noise.bin", "photo.jpg", "already.gz")


def source(folder: Path) -> Path:
    """Letters with much in common, half of them with the word; sounds and tables below and above 8 MiB; and noise."""
    draw = random.Random(5)
    words = [draw.randbytes(5).hex() for _ in range(500)]
    heading = " ".join(draw.choices(words, k=100))
    folder.mkdir()
    for number in range(600):
        told = f"{CANARY} was seen in the garden" if number % 2 else "nothing was seen in the garden"
        body = " ".join(draw.choices(words, k=60))
        (folder / f"letter-{number:03}.txt").write_text(f"{heading}\n{told} {number}\n{body}\n", encoding="utf-8")
    (folder / "hall.wav").write_bytes(riff(fmt(2), chunk(b"data", hum(60_000, 2)), chunk(b"LIST", b"odd")))
    (folder / "long.wav").write_bytes(riff(fmt(), chunk(b"data", hum(5_000_000, seed=1))))
    (folder / "long.csv").write_text("".join(f"{n},{n * n % 977},sensor\n" for n in range(700_000)))
    (folder / "scan.pgm").write_bytes(b"P5\n400 300\n255\n" + bytes((x // 9) % 256 for x in range(120_000)))
    (folder / "noise.bin").write_bytes(draw.randbytes(40_000))
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + draw.randbytes(20_000))
    (folder / "already.gz").write_bytes(b"\x1f\x8b\x08\x00" + bytes(30_000))
    return folder


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    return new_lake(str(tmp_path / "lake"), local_engine)


def landed(lake: Lake, folder: Path) -> dict[str, bytes]:
    lake.ingest(source(folder))
    return {row["sha256"]: (folder / row["path"]).read_bytes() for row in lake.rows("assets")}


def codecs(lake: Lake) -> dict[str, str]:
    """How each file is stored, letters together."""
    stored = {row["sha256"]: row["codec"] for row in lake.rows("blobs")}
    names = {row["path"].split("-")[0]: stored[row["sha256"]] for row in lake.rows("assets")}
    assert names.pop("letter") == "zstd"
    return names


def stored_bytes(lake: Lake) -> int:
    return sum(entry.size_bytes for prefix in ("packs", "blobs") for entry in lake.job.store.list(prefix))


def test_the_same_bytes_out_of_fewer(lake: Lake, tmp_path: Path) -> None:
    contents = landed(lake, tmp_path / "in")
    planned = lake.compact(recompress=True, dry_run=True)
    before = stored_bytes(lake)

    report = lake.compact(recompress=True)

    assert planned["blobs_moved"] == report["blobs_moved"]
    assert codecs(lake) == {
        **dict.fromkeys(COMPRESSED, "zstd"),
        "hall.wav": "flac",
        "long.wav": "flac",
        **dict.fromkeys(LEFT, "stored"),
    }
    all_read(lake, contents)
    for row in lake.rows("assets"):
        assert lake.read(row) == lake.read(row["file"]) == contents[row["sha256"]], "by its row, by its reference"
        assert ("#" in row["file"]["uri"]) == (row["path"] not in LEFT)
    age(lake)
    assert lake.gc(0.0)["deleted"] > 0
    all_read(lake, contents)
    after = stored_bytes(lake)
    assert after < 0.6 * before
    assert abs(before - after - report["bytes_saved"]) < 0.02 * before
    assert lake.scrub()["damaged"] == 0

    versions = lake.versions()
    again = lake.compact(recompress=True)
    assert (again["rewritten"], again["blobs_moved"], again["bytes_saved"]) == (0, 0, 0)
    assert lake.versions() == versions, "what was tried is not tried again"
    shutil.copytree(tmp_path / "in", tmp_path / "again")
    delivered = lake.ingest(tmp_path / "again")
    assert (delivered["landed"], delivered["arrivals"]) == (0, len(contents))
    for row in lake.rows("assets"):
        assert lake.read(row["file"]) == contents[row["sha256"]]


def test_what_is_compressed_stays_so_when_its_pack_is_written_anew(lake: Lake, tmp_path: Path) -> None:
    contents = landed(lake, tmp_path / "in")
    lake.compact(recompress=True)
    was = codecs(lake)
    lake.erase(query="SELECT sha256 FROM assets WHERE path = 'hall.wav'")
    contents = {row["sha256"]: contents[row["sha256"]] for row in lake.rows("assets")}
    assert codecs(lake) == {name: codec for name, codec in was.items() if name != "hall.wav"}
    all_read(lake, contents)


def test_analyses_see_the_recordings_as_they_came(lake: Lake, tmp_path: Path) -> None:
    landed(lake, tmp_path / "in")
    lake.analyze("loudness")
    asked = [row for row in lake.rows("feature_loudness") if row["sha256"]]
    lake.compact(recompress=True)
    for name in lake.job.tables.names():
        if name.startswith("feature_"):
            shutil.rmtree(Path(lake.job.tables.uri(name)))
    lake.analyze("loudness")
    key = lambda row: (row["sha256"], row["start_s"])  # noqa: E731
    again = [{**row, "run_id": None} for row in lake.rows("feature_loudness")]
    assert sorted(again, key=key) == sorted(({**row, "run_id": None} for row in asked), key=key)


@pytest.mark.parametrize("way", ["descriptions", "contents"])
def test_the_index_comes_back_from_compressed_bytes(lake: Lake, tmp_path: Path, way: str) -> None:
    contents = landed(lake, tmp_path / "in")
    lake.compact(recompress=True)
    age(lake)
    lake.gc(0.0)
    was = {row["sha256"]: (row["codec"], row["pack_uri"], row["offset"], row["length"]) for row in lake.rows("blobs")}
    shutil.rmtree(Path(lake.job.settings.root, "tables/blobs"))
    if way == "contents":
        for entry in list(lake.job.store.list("")):
            if entry.key.endswith(".about"):
                lake.job.store.delete(entry.key)
            elif entry.key.startswith("packs/"):
                path = Path(lake.job.settings.root, entry.key)
                path.write_bytes(path.read_bytes()[:-32] + bytes(32))
    lake.rebuild()
    rows = {row["sha256"]: (row["codec"], row["pack_uri"], row["offset"], row["length"]) for row in lake.rows("blobs")}
    assert rows == was
    all_read(lake, contents)


def test_scrub_finds_what_is_hurt(lake: Lake, tmp_path: Path) -> None:
    contents = landed(lake, tmp_path / "in")
    lake.compact(recompress=True)
    age(lake)
    lake.gc(0.0)
    root = Path(lake.job.settings.root)
    draw = random.Random(3)
    objects = [entry for prefix in ("packs", "blobs") for entry in lake.job.store.list(prefix)]
    for entry in objects * 6:
        whole = (root / entry.key).read_bytes()
        flip(lake, entry.key, draw.randrange(len(whole)))
        report = lake.scrub()
        assert entry.key in {finding["key"] for finding in report["findings"]}
        hurt = {finding["sha256"] for finding in report["findings"]}
        for sha256, read in read_all(lake).items():
            assert read == contents[sha256] or (isinstance(read, LakeError) and sha256 in str(read) and sha256 in hurt)
        (root / entry.key).write_bytes(whole)
    assert lake.scrub()["damaged"] == 0


def unpacked(lake: Lake) -> Iterator[tuple[str, bytes]]:
    """Every file, every content of a compressed object, and every dictionary."""
    yield from files(Path(lake.job.settings.root))
    for index in read_index(lake.job.store):
        for ref, _ in index.blobs:
            with open_blob(lake.job.store, ref) as stream:
                yield f"{index.key}: {ref.sha256}", stream.read()


def test_a_dictionary_goes_with_the_texts_that_it_was_trained_on(lake: Lake, tmp_path: Path) -> None:
    contents = landed(lake, tmp_path / "in")
    lake.compact(recompress=True)
    age(lake)
    lake.gc(0.0)
    [key] = {entry.key for entry in lake.job.store.list("packs")}
    assert CANARY.encode() in read_dictionary(lake.job.store, key), "the word of so many letters is in it"
    lake.analyze("document_text")

    lake.erase(query=f"SELECT sha256 FROM feature_document_text WHERE text LIKE '%{CANARY}%'")

    others = {sha256: data for sha256, data in contents.items() if CANARY.encode() not in data}
    assert len(others) == len(contents) - 300
    assert traces(CANARY, unpacked(lake)) == []
    all_read(lake, others)
    [now] = {entry.key for entry in lake.job.store.list("packs")}
    assert CANARY.encode() not in read_dictionary(lake.job.store, now)
    assert read_dictionary(lake.job.store, now)


class Killed(BaseException):
    """Ends a run as a kill would."""


def test_killed_at_any_step_and_run_again(
    tmp_path: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each commit of a recompression is the one before which it is killed once."""
    made = new_lake(str(tmp_path / "made"), local_engine)
    contents = landed(made, tmp_path / "in")
    step = 0
    while True:
        root = tmp_path / f"lake-{step}"
        shutil.copytree(made.job.settings.root, root)
        lake = new_lake(str(root), LocalEngine(1))
        left = step

        def counted(*args: object, real: object, **options: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(*args, **options)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            from lake.store import compact as module

            real = module.update_rows
            patch.setattr(module, "update_rows", lambda *a, real=real, **o: counted(*a, real=real, **o))
            try:
                lake.compact(recompress=True)
                break
            except Killed:
                pass
        all_read(lake, contents)
        lake.compact(recompress=True)
        all_read(lake, contents)
        age(lake)
        lake.gc(0.0)
        all_read(lake, contents)
        assert codecs(lake)["long.wav"] == "flac"
        assert {e.key for e in lake.job.store.list("packs")} == {
            row["pack_uri"] for row in lake.rows("blobs") if row["pack_uri"].startswith("packs/")
        }
        step += 1
    assert step >= 3


def test_the_same_on_a_bucket(
    minio: MinioServer, tmp_path: Path, local_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = bucket_lake(minio, "recompress", local_engine, monkeypatch)
    contents = landed(lake, tmp_path / "in")
    assert lake.compact(recompress=True)["bytes_saved"] > 0
    all_read(lake, contents)
    assert lake.scrub()["damaged"] == 0


def test_a_damaged_dictionary_hurts_its_texts_and_is_named(lake: Lake, tmp_path: Path) -> None:
    landed(lake, tmp_path / "in")
    lake.compact(recompress=True)
    text = next(row for row in lake.rows("assets") if row["path"].startswith("letter"))
    blob = next(row for row in lake.rows("blobs") if row["sha256"] == text["sha256"])
    flip(lake, blob["pack_uri"], 200)
    with pytest.raises(IntegrityError, match=text["sha256"]):
        lake.read(text)
    report = lake.scrub()
    assert report["damaged"] > 600
    assert any("dictionary" in finding["said"] and finding["sha256"] is None for finding in report["findings"])
    assert sum(isinstance(read, LakeError) for read in read_all(lake).values()) == 600
