"""A MinIO over four drives: two are lost, or rot, and what is read stays right."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.errors import LakeError
from lake.tables import Tables
from tests.support.lakes import Lake, bucket_lake, command
from tests.support.minio import MinioServer

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture
def drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    # Four folders of one disk: MinIO takes them as drives only when told that this is a trial.
    monkeypatch.setenv("MINIO_CI_CD", "1")
    return [tmp_path / f"drive-{number}" for number in range(4)]


@pytest.fixture
def server(drives: list[Path]) -> Iterator[MinioServer]:
    with MinioServer(*drives) as started:
        yield started


@pytest.fixture
def lake(server: MinioServer, local_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Lake:
    return bucket_lake(server, server.fresh_bucket(), local_engine, monkeypatch)


def fill(lake: Lake, folder: Path, first: int, count: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:03}.bin").write_bytes(random.Random(number).randbytes(40_000))
    if not (folder / "large.bin").exists():
        (folder / "large.bin").write_bytes(random.Random(-1).randbytes(9 * 1024**2))


def all_read(lake: Lake, folder: Path) -> None:
    rows = lake.rows("assets")
    assert rows
    for row in rows:
        assert lake.read(row["sha256"]) == (folder / row["path"]).read_bytes()


def soon_all_read(lake: Lake, folder: Path) -> None:
    """MinIO needs some seconds to see that a drive is gone; until then a read may fail, and never is it wrong."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return all_read(lake, folder)
        except LakeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """A command's exit status and what it said on stderr."""
    _, stderr = process.communicate(timeout=400)
    return process.returncode, stderr


@pytest.mark.parametrize("lost", [(0, 1), (1, 3)])
def test_two_drives_are_lost_and_come_back(
    server: MinioServer, lake: Lake, drives: list[Path], tmp_path: Path, lost: tuple[int, int]
) -> None:
    folder = tmp_path / "in"
    fill(lake, folder, 0, 40)
    lake.ingest(folder)
    for number in lost:
        drives[number].rename(drives[number].with_suffix(".lost"))
    soon_all_read(lake, folder)
    fill(lake, folder, 40, 20)
    status, stderr = ended(command(lake, "ingest", str(folder)))
    # Three of four drives must take a write: with two it holds or fails, and says so in one line.
    assert status in (0, 1), stderr
    assert "Traceback" not in stderr
    said = [line for line in stderr.splitlines() if line.startswith("lake: ")]
    assert status == 0 or len(said) == 1, stderr
    for number in lost:
        drives[number].with_suffix(".lost").rename(drives[number])
    server.restart()
    status, stderr = ended(command(lake, "ingest", str(folder)))
    assert status == 0, stderr
    assert len(lake.rows("arrivals")) == len({row["arrival_id"] for row in lake.rows("arrivals")}) == 61
    all_read(lake, folder)
    report = lake.scrub()
    assert (report["damaged"], report["missing"]) == (0, 0)


def test_bits_that_flip_on_two_drives_do_not_reach_a_reader(lake: Lake, drives: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fill(lake, folder, 0, 40)
    lake.ingest(folder)
    draw = random.Random(9)
    flipped = 0
    for drive in drives[1:3]:
        parts = sorted(path for path in drive.rglob("part.*") if ".minio.sys" not in path.parts)
        for part in parts:
            data = bytearray(part.read_bytes())
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            part.write_bytes(data)
            flipped += 1
    assert flipped >= 4
    all_read(lake, folder)
    report = lake.scrub()
    assert (report["damaged"], report["missing"]) == (0, 0)
    assert Tables(lake.job.settings.root, lake.job.settings.storage_options()).exists("assets")
