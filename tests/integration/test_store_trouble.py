"""A store that goes away in the middle of a run: waited for where that helps, else one line; the next run ends it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.errors import LakeError
from tests.support.lakes import ROOT, Lake, bucket_lake, command
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(500)

FILES = 600


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MinioServer]:
    with MinioServer(tmp_path / "minio") as started:
        yield started


@pytest.fixture
def lake(server: MinioServer, local_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return bucket_lake(server, server.fresh_bucket(), local_engine, monkeypatch)


def source(folder: Path) -> Path:
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number:04}.txt").write_text(f"note {number}\n" * (number % 50 + 1), encoding="utf-8")
    return folder


def started(lake: Lake, folder: Path, conf: Path) -> subprocess.Popen[str]:
    """An ingest in waves of 60, so that there is a middle; comes back when its first wave is committed."""
    shutil.copytree(ROOT / "conf", conf)
    (conf / "lake.yaml").write_text("ingest: {wave_max_arrivals: 60}\n", encoding="utf-8")
    before = lake.job.tables.open("arrivals").version()
    process = command(lake, "ingest", str(folder), LAKE_CONF=str(conf))
    deadline = time.monotonic() + 120
    while lake.job.tables.open("arrivals").version() == before:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return process


def whole(lake: Lake, folder: Path) -> None:
    arrivals, blobs = lake.rows("arrivals"), lake.rows("blobs")
    assert len(arrivals) == len({row["arrival_id"] for row in arrivals}) == FILES
    assert len(blobs) == len({row["sha256"] for row in blobs}) == FILES
    for row in lake.rows("assets")[::40]:
        assert lake.read(row) == (folder / row["path"]).read_bytes()


def test_a_restart_of_the_store_is_waited_for(server: MinioServer, lake: Lake, tmp_path: Path) -> None:
    folder = source(tmp_path / "in")
    process = started(lake, folder, tmp_path / "conf")
    server.kill()
    time.sleep(1.5)
    server.start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    whole(lake, folder)


def test_a_store_that_stays_away_ends_the_run_with_one_line(server: MinioServer, lake: Lake, tmp_path: Path) -> None:
    folder = source(tmp_path / "in")
    process = started(lake, folder, tmp_path / "conf")
    server.kill()
    _, said = process.communicate(timeout=400)
    assert process.returncode == 1
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("lake: ")]
    assert server.endpoint_url in line or lake.job.settings.root in line
    with pytest.raises(LakeError):
        lake.rows("arrivals")
    server.start()
    assert lake.ingest(folder)["quarantined"] == 0
    whole(lake, folder)
