"""The disk of a folder root is full: one line, exit 1, nothing torn; with room again the next run completes."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.engine import Engine
from tests.support.lakes import Lake, command, new_lake

pytestmark = pytest.mark.timeout(120)

DISK_BYTES = 6 * 1024**2
FILES = 12


def mount(*options: str) -> bool:
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)):
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def lake(disk: Path, local_engine: Engine) -> Lake:
    return new_lake(str(disk / "lake"), local_engine)


def source(folder: Path, size_bytes: int) -> Path:
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.bin").write_bytes(random.Random(number).randbytes(size_bytes))
    return folder


def is_told(lake: Lake, folder: Path) -> None:
    process = command(lake, "ingest", str(folder))
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 1, stderr
    assert "Traceback" not in stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("lake: ")]
    assert "No space left on device" in line
    assert lake.job.settings.root in line


def completes(lake: Lake, folder: Path) -> None:
    report = lake.ingest(folder)
    assert (report["landed"], report["quarantined"]) == (FILES, 0)
    for table, key in (("arrivals", "arrival_id"), ("assets", "asset_id"), ("blobs", "sha256")):
        assert len(lake.rows(table)) == len({row[key] for row in lake.rows(table)}) == FILES
    for row in lake.rows("assets"):
        assert lake.read(row) == (folder / row["path"]).read_bytes()
    assert lake.scrub()["damaged"] == 0


def test_no_room_for_the_recordings(lake: Lake, disk: Path, tmp_path: Path) -> None:
    folder = source(tmp_path / "in", size_bytes=1024**2)
    is_told(lake, folder)
    assert lake.rows("blobs") == lake.rows("arrivals") == []
    assert mount("-o", f"remount,size={10 * DISK_BYTES}", str(disk))
    completes(lake, folder)


def test_no_room_for_the_rows(lake: Lake, disk: Path, tmp_path: Path) -> None:
    """A little more of it each time: the run gets as far as its lock, its lease, a pack, one table after the other."""
    folder = source(tmp_path / "in", size_bytes=2000)
    filler = disk / "filler"
    for pages_left in (4, 8, 12, 16):
        free = os.statvfs(disk)
        filler.write_bytes(bytes((free.f_bavail - pages_left) * free.f_bsize))
        is_told(lake, folder)
        filler.unlink()
    completes(lake, folder)
