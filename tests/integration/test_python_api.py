"""The lake from Python: what ``lake.open`` gives, and what it says when something is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

import lake
from jobs.cli import Invocation
from jobs.context import open_job
from lake.catalog.create import create_lake
from lake.catalog.open import Lake as Opened
from lake.errors import IntegrityError, LakeError, NotFound, SettingsError, UsageError
from tests.support.lakes import Lake
from tests.support.minio import MinioServer
from tests.support.recordings import recordings


@pytest.fixture
def opened(filled: Lake) -> Opened:
    return lake.open(filled.job.settings.root)


def asset(opened: Opened, name: str) -> dict[str, Any]:
    """The row of one recording."""
    (row,) = opened.assets().to_table(filter=pc.field("path") == name).to_pylist()
    return dict(row)


def test_assets_are_a_dataset_to_filter(opened: Opened) -> None:
    images = opened.assets().to_table(columns=["path"], filter=pc.field("media_kind") == "image")
    expected = {r.name for r in recordings() if r.media_kind == "image"}
    assert set(images.column("path").to_pylist()) == expected
    assert opened.table("blobs").count_rows() == len(set(opened.assets().to_table().column("sha256").to_pylist()))
    assert opened.table("feature_loudness").count_rows() > 0


def test_sql_with_parameters(opened: Opened) -> None:
    rows = opened.sql("SELECT path FROM assets WHERE media_kind = $kind ORDER BY path", {"kind": "video"})
    assert rows.column("path").to_pylist() == sorted(
        row["path"] for row in opened.assets().to_table().to_pylist() if row["media_kind"] == "video"
    )
    hostile = opened.sql("SELECT count(*) AS n FROM assets WHERE path = $p", {"p": "' OR 1 = 1 --"})
    assert hostile.to_pylist() == [{"n": 0}]
    with pytest.raises(UsageError, match="sql takes one SELECT"):
        opened.sql("DROP TABLE assets")
    with pytest.raises(UsageError, match="sql"):
        opened.sql("SELECT $a", {})


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.pdf", "b.txt", "cut.mp4", "empty.mp4"])
def test_read_by_every_kind_of_name(opened: Opened, filled: Lake, name: str) -> None:
    """Asset id and its beginning, sha256, row and FILE reference all name the same bytes; broken ones are kept too."""
    row = asset(opened, name)
    source = Path(row["source"].removeprefix("file://"))
    expected = (source / name).read_bytes()
    assert hashlib.sha256(expected).hexdigest() == row["sha256"]
    names = (row["asset_id"], row["asset_id"][:12], row["sha256"], row["sha256"].upper(), row, row["file"])
    from_sql = opened.sql("SELECT file FROM assets WHERE asset_id = $a", {"a": row["asset_id"]}).to_pylist()[0]
    for each in (*names, from_sql):
        with opened.read(each) as stream:
            assert stream.read() == expected


def test_a_stream_can_be_sought(opened: Opened) -> None:
    row = asset(opened, "a.wav")
    with opened.read(row) as stream:
        assert stream.readable() and stream.seekable()
        assert stream.read(4) == b"RIFF"
        stream.seek(8)
        assert stream.read(4) == b"WAVE"
        stream.seek(-1, 2)
        assert len(stream.read()) == 1


def test_a_path_that_changed_is_two_recordings(opened: Opened) -> None:
    rows = opened.assets().to_table(filter=pc.field("path") == "a.txt").to_pylist()
    assert len(rows) == 2
    assert {opened.read(row).read() for row in rows} == {b"other words\n", "Ein Text über nichts.\n".encode()}


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ("0" * 64, NotFound, "no blob 0000"),
        ("0" * 32, NotFound, "no asset 0000"),
        ("abcd", NotFound, "no asset abcd"),
        ("a.wav", UsageError, "is no asset id or sha256"),
        ("", UsageError, "is no asset id or sha256"),
        ({}, UsageError, "a recording is named by"),
        ({"file": None}, UsageError, "a recording is named by"),
        ({"checksum": None}, UsageError, "a recording is named by"),
        ({"sha256": 5}, UsageError, "a recording is named by"),
        (None, UsageError, "a recording is named by"),
        (17, UsageError, "a recording is named by"),
    ],
)
def test_names_of_nothing(opened: Opened, wrong: Any, error: type[LakeError], said: str) -> None:
    with pytest.raises(error) as caught:
        opened.read(wrong)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_wrong_bytes_never_come_out(filled: Lake, opened: Opened, tmp_path: Path) -> None:
    row = asset(opened, "a.csv")
    pack = Path(filled.job.settings.root, row["file"]["uri"])
    whole = pack.read_bytes()
    place = whole.index(opened.read(row).read())
    pack.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        with pytest.raises(IntegrityError):
            opened.read(row).read()
    finally:
        pack.write_bytes(whole)
    assert opened.read(row).read()


def test_a_library_at_its_published_version(opened: Opened) -> None:
    shots = opened.library("site_watch").table("shots")
    assert shots.num_rows == 2, "two more rows came after the publication"
    with pytest.raises(NotFound, match=r"site_watch.* no table 'shot'.*shots"):
        opened.library("site_watch").table("shot")
    with pytest.raises(NotFound, match="never built"):
        opened.library("hotline_audio").table("calls")


def test_tables_that_are_none(opened: Opened) -> None:
    with pytest.raises(NotFound) as caught:
        opened.table("asset")
    assert "asset" in str(caught.value)


def test_no_lake_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no lake at .*nothing"):
        lake.open(str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists(), "looking makes no folder"
    with pytest.raises(SettingsError, match="use a folder or s3"):
        lake.open("ftp://x")
    with pytest.raises(SettingsError, match="no profile"):
        lake.open(str(tmp_path), profile="nope")


def test_the_root_of_the_environment(filled: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_ROOT", filled.job.settings.root)
    assert lake.open().assets().count_rows() > 0


def test_what_is_open_shows_no_secret(minio: MinioServer, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook shows the last value of a cell."""
    for name, value in minio.environ().items():
        monkeypatch.setenv(name, value)
    root = f"s3://{bucket}/x"
    job = open_job(Invocation(root=root), must_exist=False)
    create_lake(job.settings, job.tables, job.store)
    opened = lake.open(root)
    assert opened.assets().count_rows() == 0
    assert minio.secret_key not in repr(opened) + str(opened.tables) + repr(opened.store) + repr(opened.library("x"))
