"""Garbage collection killed at each delete and run again, and beside a run that needs what a crash left."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lake.engine import Engine
from lake.store.gc import collect
from lake.store.objects import FolderStore, ObjectInfo
from lake.store.writer import PackWriter
from lake.tables import Tables
from tests.integration.test_upkeep import Killed, MortalStore, age, all_read, fill, now
from tests.support.lakes import Lake, command, new_lake
from tests.support.packs import sha256_of

pytestmark = pytest.mark.timeout(120)

ORPHANS = 3000
LARGE = os.urandom(9 * 1024**2)


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    return new_lake(str(tmp_path / "lake"), local_engine)


def keys(lake: Lake) -> set[str]:
    return {entry.key for prefix in ("packs", "blobs", "leases") for entry in lake.job.store.list(prefix)}


def leave_a_large_blob(lake: Lake, scratch: Path) -> None:
    """What a run leaves that was killed after it stored a large blob and before it committed its row."""
    scratch.mkdir()
    (scratch / "large").write_bytes(LARGE)
    PackWriter(lake.job.store, scratch).add_large(sha256_of(LARGE), scratch / "large", "video/mp4")


def leave_orphans(lake: Lake, scratch: Path) -> set[str]:
    """A large blob, two packs, and a lease whose holder died."""
    before = keys(lake)
    leave_a_large_blob(lake, scratch)
    for name in ("one", "two"):
        lake.job.store.put(f"packs/20200101/{name}.pack", b"left by a crash")
    lake.job.store.put("leases/dead.json", b'{"since_utc": "2020-01-01T00:00:00+00:00"}')
    os.utime(Path(lake.job.settings.root, "leases/dead.json"), (0, 0))
    return keys(lake) - before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_gc_killed_at_any_delete_and_run_again(lake: Lake, tmp_path: Path, after: bool) -> None:
    contents = fill(lake, tmp_path / "in", runs=2, each=10)
    kept = keys(lake)
    orphans = leave_orphans(lake, tmp_path / "scratch")
    age(lake)
    root, saved = Path(lake.job.settings.root), tmp_path / "saved"
    shutil.copytree(root, saved)

    def run(store: FolderStore) -> None:
        collect(store, Tables(str(root)), now(), timedelta(0))

    counting = MortalStore(str(root))
    run(counting)
    assert set(counting.calls) == orphans
    assert len(counting.calls) == 5
    for moment in range(len(counting.calls)):
        shutil.rmtree(root)
        shutil.copytree(saved, root)
        with pytest.raises(Killed):
            run(MortalStore(str(root), dies_at=moment, after=after))
        assert keys(lake) == kept | orphans - set(counting.calls[: moment + after])
        all_read(lake, contents)
        run(FolderStore(str(root)))
        assert keys(lake) == kept
        all_read(lake, contents)


def test_kill_9_of_gc(lake: Lake, tmp_path: Path) -> None:
    """The command is killed as soon as a few of many orphans are gone; the next one takes the rest and nothing else."""
    contents = fill(lake, tmp_path / "in", runs=1, each=10)
    kept = keys(lake)
    folder = Path(lake.job.settings.root, "packs", "20200101")
    folder.mkdir()
    for number in range(ORPHANS):
        (folder / f"{number}.pack").write_bytes(b"left by a crash")
    age(lake)
    process = command(lake, "store", "gc", "--hold-hours", "1", "--yes")
    deadline = time.monotonic() + 60
    while len(os.listdir(folder)) == ORPHANS and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    left = len(os.listdir(folder))
    assert 0 < left < ORPHANS
    all_read(lake, contents)
    assert lake.gc(1.0)["deleted"] == left
    assert keys(lake) - {entry.key for entry in lake.job.store.list("leases")} == kept
    all_read(lake, contents)


@dataclass(frozen=True)
class Between(Tables):
    """Tables before whose first commit of blobs something else happens."""

    happens: Callable[[], Any] = field(default=lambda: None)

    def append(self, name: str, rows: Any, *, txn: tuple[str, int] | None = None) -> int:
        if name == "blobs":
            self.happens()
        return super().append(name, rows, txn=txn)


@dataclass(frozen=True)
class Listing(FolderStore):
    """A store in which something happens when a collection has listed the large blobs."""

    happens: Callable[[], Any] = field(default=lambda: None)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from list(super().list(prefix))
        if prefix == "blobs":
            self.happens()

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "happens": self.happens}


@pytest.fixture
def again(lake: Lake, tmp_path: Path) -> Path:
    """A folder whose ingest was killed after it stored a large blob, longer ago than the hold; others went on."""
    fill(lake, tmp_path / "others", runs=1, each=3)
    leave_a_large_blob(lake, tmp_path / "scratch")
    age(lake)
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "large.mp4").write_bytes(LARGE)
    return folder


def test_gc_leaves_what_a_crash_left_to_the_run_that_needs_it_now(lake: Lake, again: Path) -> None:
    """The ingest is started again, and the nightly collection comes before its commit."""
    reports: list[dict[str, Any]] = []
    between = Between(lake.job.tables.root, happens=lambda: reports.append(lake.gc(0.0)))
    Lake(replace(lake.job, tables=between), lake.engine).ingest(again)
    assert [(report["orphans"], report["held"], report["deleted"]) for report in reports] == [(2, 2, 0)]
    assert lake.read(sha256_of(LARGE)) == LARGE


def test_gc_looks_again_before_it_takes_a_large_blob(lake: Lake, again: Path) -> None:
    """The whole ingest passes between the collection's listing and its deleting."""
    listing = Listing(lake.job.store.root, happens=lambda: lake.ingest(again))
    report = collect(listing, lake.job.tables, now(), timedelta(0))
    assert (report.orphans, report.held, report.deleted) == (2, 2, 0)
    assert lake.read(sha256_of(LARGE)) == LARGE
