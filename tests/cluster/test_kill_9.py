"""Work on a standalone cluster loses an executor's JVM, a Python worker, or its driver, by ``kill -9``."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lake.engine import Engine
from lake.library.catalog import library_table
from lake.store.stat import stat
from tests.integration.test_crash import state
from tests.integration.test_upkeep import age
from tests.support.cluster import Cluster
from tests.support.lakes import Lake, command, new_lake
from tests.support.library_rows import theme
from tests.support.recordings import recordings

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

NOTES = 120
LIBRARY = """
  ids:
    key: [asset_id]
    sql: SELECT asset_id, sha256 FROM assets
"""
ANALYSES = ("document_text", "loudness")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        theme(started.conf() / "themes", LIBRARY)
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of every kind, many notes, and enough bytes that compaction takes its time."""
    folder = tmp_path_factory.mktemp("in")
    draw = random.Random(3)
    for recording in recordings():
        (folder / recording.name).write_bytes(recording.data)
    for number in range(NOTES):
        (folder / f"note-{number:03}.txt").write_text(f"note {number}\n" * (number % 50 + 1), encoding="utf-8")
    for number in range(10):
        (folder / f"raw-{number:02}.bin").write_bytes(draw.randbytes(5 * 1024**2))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, folder: Path, local_engine: Engine) -> dict[str, Path]:
    """Lakes as they are before each verb; the last one is what an undisturbed way through all of them leaves."""
    base = tmp_path_factory.mktemp("prepared")
    lake = new_lake(str(base / "work"), local_engine)
    shutil.copytree(base / "work", base / "ingest")
    lake.ingest(folder)
    for verb in ("analyze", "compact", "library"):
        shutil.copytree(base / "work", base / verb)
    lake.analyze(*ANALYSES)
    return {verb: base / verb for verb in ("ingest", "analyze", "compact", "library", "work")}


@dataclass(frozen=True)
class Step:
    """A verb, and how it is seen that it is in the middle of its work."""

    arguments: tuple[str, ...]
    is_reached: Callable[[Lake], bool]


def is_spooling(lake: Lake) -> bool:
    return any(Path(lake.job.settings.root, ".staging").glob("run-*/lake-*/*.pack"))


def has_committed(table: str) -> Callable[[Lake], bool]:
    """Whether a first wave is in a table, and the second under way."""
    return lambda lake: lake.job.tables.exists(table) and lake.job.tables.open(table).version() > 0


STEPS = {
    "ingest": Step(("ingest", "{folder}"), has_committed("arrivals")),
    "analyze": Step(("analyze", *ANALYSES), has_committed("feature_document_text")),
    "compact": Step(("store", "compact"), is_spooling),
    "library": Step(("library", "build", "small"), has_committed("runs")),
}


def victims(cluster: Cluster, which: str, process: subprocess.Popen[str]) -> list[int]:
    if which == "driver":
        return [process.pid]
    return cluster.executors() if which == "executor" else cluster.python_workers()


def kill_in_the_middle(cluster: Cluster, lake: Lake, step: Step, which: str, process: subprocess.Popen[str]) -> None:
    """Kill one of the victims as soon as the work is in its middle and there is one."""
    deadline = time.monotonic() + 120
    while not step.is_reached(lake) or not (pids := victims(cluster, which, process)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(pids[0], signal.SIGKILL)
    while Path(f"/proc/{pids[0]}").exists() and pids[0] != process.pid:
        time.sleep(0.005)
    if which != "driver":
        assert process.poll() is None, "it was over before"


@pytest.mark.parametrize(
    ("verb", "which"),
    [
        *((verb, which) for verb in ("ingest", "analyze", "compact") for which in ("executor", "python")),
        ("compact", "driver"),
        ("library", "executor"),
    ],
)
def test_it_ends_as_if_nobody_had_been_killed(
    cluster: Cluster,
    prepared: dict[str, Path],
    folder: Path,
    tmp_path: Path,
    local_engine: Engine,
    verb: str,
    which: str,
) -> None:
    shutil.copytree(prepared[verb], tmp_path / "lake")
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    step = STEPS[verb]
    arguments = [part.replace("{folder}", str(folder)) for part in step.arguments]
    process = command(lake, *arguments, LAKE_CONF=str(cluster.conf()))
    try:
        kill_in_the_middle(cluster, lake, step, which, process)
        _, said = process.communicate(timeout=200)
    finally:
        process.kill()
        process.communicate()
    if which == "driver":
        assert process.returncode == -signal.SIGKILL
        again = command(lake, *arguments, LAKE_CONF=str(cluster.conf()))
        _, said = again.communicate(timeout=200)
        assert again.returncode == 0, said
    else:
        assert process.returncode == 0, said
    undisturbed = state(new_lake(str(prepared["work"]), local_engine))
    found = state(lake)
    if verb != "analyze":
        undisturbed = {table: rows for table, rows in undisturbed.items() if not table.startswith("feature_")}
    assert found == undisturbed
    if verb == "library":
        assert library_table(lake.job.tables, "small", "ids").num_rows == len(lake.rows("assets"))
    if verb == "compact":
        assert len({row["pack_uri"] for row in lake.rows("blobs") if row["pack_uri"].startswith("packs/")}) == 1
    age(lake)
    for entry in lake.job.store.list("leases"):  # of a driver that was killed: dead after some minutes
        os.utime(Path(lake.job.settings.root, entry.key), (0, 0))
    lake.gc(0.0)
    left = stat(lake.job.store, lake.job.tables.dataset("blobs"), "tables/blobs")
    assert (left["orphan_bytes"], left["missing_objects"]) == (0, 0)
    for row in lake.rows("assets"):
        assert lake.read(row) == (folder / row["path"]).read_bytes()
