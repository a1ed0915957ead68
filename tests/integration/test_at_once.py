"""The same work twice at once, by real processes: nothing lost, nothing twice, and nobody fails."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.errors import CommitConflict
from lake.store.lock import exclusive
from lake.store.objects import FolderStore
from tests.support.lakes import Lake, command, new_lake
from tests.support.recordings import recordings

pytestmark = pytest.mark.timeout(300)


def all_done(*processes: subprocess.Popen[str]) -> list[str]:
    """What they said on stderr; each must end well and without a trace."""
    said = []
    for process in processes:
        _, stderr = process.communicate(timeout=200)
        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr
        said.append(stderr)
    return said


def source(folder: Path, copies: int = 12) -> Path:
    for number in range(copies):
        (folder / f"day-{number:02}").mkdir(parents=True)
        for recording in recordings():
            if len(recording.data) < 200_000:
                (folder / f"day-{number:02}" / recording.name).write_bytes(recording.data)
    return folder


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    return new_lake(str(tmp_path / "lake"), local_engine)


def test_two_ingests_of_one_folder_land_it_once(lake: Lake, tmp_path: Path) -> None:
    folder = source(tmp_path / "in")
    all_done(*(command(lake, "ingest", str(folder)) for _ in range(3)))
    files = sum(path.is_file() for path in folder.rglob("*"))
    arrivals, assets = lake.rows("arrivals"), lake.rows("assets")
    assert len(arrivals) == len({row["arrival_id"] for row in arrivals}) == files
    assert len(assets) == len({row["asset_id"] for row in assets}) == files
    assert len(lake.rows("blobs")) == len({row["sha256"] for row in lake.rows("blobs")})


def test_ingests_of_overlapping_folders_keep_one_blob_a_content(lake: Lake, tmp_path: Path) -> None:
    """Different sources run side by side: a content may be stored twice, until compaction."""
    folder = source(tmp_path / "in")
    all_done(
        command(lake, "ingest", str(folder)), *(command(lake, "ingest", str(folder / f"day-0{n}")) for n in (3, 4))
    )
    states = Counter(row["state"] for row in lake.rows("arrivals"))
    inside = sum(path.is_file() for day in ("day-03", "day-04") for path in (folder / day).iterdir())
    files = sum(path.is_file() for path in folder.rglob("*"))
    assert sum(states.values()) == files + inside
    assets = lake.rows("assets")
    assert len(assets) == len({row["asset_id"] for row in assets}) == files + inside
    lake.compact()
    contents = {row["sha256"]: row for row in assets}
    assert Counter(row["sha256"] for row in lake.rows("blobs")) == Counter(dict.fromkeys(contents, 1))
    for row in contents.values():
        assert lake.read(row["asset_id"]) == (Path(row["source"].removeprefix("file://")) / row["path"]).read_bytes()


def test_two_analyses_at_once_have_each_result_once(lake: Lake, tmp_path: Path) -> None:
    lake.ingest(source(tmp_path / "in", copies=1))
    all_done(*(command(lake, "analyze", "document_text", "loudness") for _ in range(2)))
    expected = new_lake(str(tmp_path / "alone"), lake.engine)
    expected.ingest(tmp_path / "in")
    expected.analyze("document_text", "loudness")
    for table in ("feature_document_text", "feature_loudness"):
        assert len(lake.rows(table)) == len(expected.rows(table)) > 0
    assert len([r for r in lake.rows("quarantine") if r["stage"] == "analyze"]) == len(
        [r for r in expected.rows("quarantine") if r["stage"] == "analyze"]
    )


def test_ingest_while_packs_are_compacted(lake: Lake, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for run in range(4):
        for number in range(50):
            (folder / f"{run}-{number}.txt").write_text(f"note {run} {number}\n" * 20, encoding="utf-8")
        lake.ingest(folder)
    for number in range(300):
        (folder / f"later-{number}.txt").write_text(f"later {number % 100}\n" * 20, encoding="utf-8")
    all_done(command(lake, "ingest", str(folder)), *(command(lake, "store", "compact") for _ in range(2)))
    assert len(lake.rows("blobs")) == len({row["sha256"] for row in lake.rows("blobs")}) == 300
    for row in lake.rows("assets"):
        assert lake.read(row["sha256"]) == (folder / row["path"]).read_bytes()


def now() -> datetime:
    return datetime.now(UTC)


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(5):
            with exclusive(store, ["b", "a"], now):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (20, 1)
    assert list(store.list("locks")) == []


def test_who_waits_is_told_for_whom_and_gives_up_at_the_limit(tmp_path: Path) -> None:
    store = FolderStore(str(tmp_path))
    told: list[str] = []
    with (
        exclusive(store, ["ingest of file:///in"], now),
        pytest.raises(CommitConflict, match=f"ingest of file:///in by process {os.getpid()} .* again later"),
        exclusive(store, ["ingest of file:///in"], now, lambda holder: told.append(str(holder)), timedelta(0)),
    ):
        raise AssertionError("held twice")
    assert len(told) == 1
    with exclusive(store, ["ingest of file:///in"], now, wait=timedelta(0)):
        pass


def test_a_run_that_was_killed_is_started_again_at_once(lake: Lake, tmp_path: Path) -> None:
    """Its lock is there still, and its process is not."""
    folder = source(tmp_path / "in")
    killed = command(lake, "ingest", str(folder))
    deadline = time.monotonic() + 60
    while not list(lake.job.store.list("locks")) and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert list(lake.job.store.list("locks")) != []
    (said,) = all_done(command(lake, "ingest", str(folder)))
    assert "waiting" not in said
    assert list(lake.job.store.list("locks")) == []
    assert len(lake.rows("arrivals")) == sum(path.is_file() for path in folder.rglob("*"))
