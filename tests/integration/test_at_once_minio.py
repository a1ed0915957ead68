"""The same work twice at once on a bucket, by real processes: ingests, and builds of a library by Spark."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.library.catalog import library_table, newest_rows
from tests.integration.test_at_once import all_done, source
from tests.support.lakes import ROOT, Lake, bucket_lake, command
from tests.support.library_rows import add_assets, asset, theme
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(400)

TABLES = """
  ids:
    key: [asset_id]
    sql: SELECT asset_id, sha256 FROM assets
"""


@pytest.fixture
def lake(minio: MinioServer, bucket: str, local_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return bucket_lake(minio, bucket, local_engine, monkeypatch)


def test_two_ingests_of_one_folder_land_it_once(lake: Lake, tmp_path: Path) -> None:
    folder = source(tmp_path / "in", copies=4)
    all_done(*(command(lake, "ingest", str(folder)) for _ in range(2)))
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for table, key in (("arrivals", "arrival_id"), ("assets", "asset_id")):
        assert len(lake.rows(table)) == len({row[key] for row in lake.rows(table)}) == len(files)
    assert Counter(row["sha256"] for row in lake.rows("blobs")) == Counter(
        {row["sha256"] for row in lake.rows("assets")}
    )
    for row in lake.rows("assets"):
        assert lake.read(row) == files[row["path"]]
    assert list(lake.job.store.list("locks")) == []


def test_two_builds_of_a_library_publish_one_version(lake: Lake, tmp_path: Path) -> None:
    """The second waits for the first, and finds that nothing is left to build."""
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    theme(conf / "themes", TABLES)
    add_assets(lake.job.tables, asset("a"), asset("b"))
    builds = [command(lake, "library", "build", "small", "--json", LAKE_CONF=str(conf)) for _ in range(2)]
    ended = [(process, *process.communicate(timeout=300)) for process in builds]
    assert [process.returncode for process, _, _ in ended] == [0, 0], ended
    assert sorted(json.loads(stdout)["published"] for _, stdout, _ in ended) == [False, True]
    assert [stderr.count("lake: waiting for build of library small") for _, _, stderr in ended].count(1) == 1
    assert not [stderr for _, _, stderr in ended if "Traceback" in stderr]
    (row,) = newest_rows(lake.job.tables, "small")["small"]
    assert (row["version"], row["rows"]) == (1, 2)
    assert lake.job.tables.open("small.ids").version() == row["delta_version"] == 0
    assert sorted(library_table(lake.job.tables, "small", "ids").column("asset_id").to_pylist()) == ["a", "b"]
