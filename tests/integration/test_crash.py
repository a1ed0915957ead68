"""A killed run, started again, ends in the state of a run that nobody killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from jobs.analyze import analyze_all
from jobs.cli import Invocation
from jobs.ingest import ingest_source, make_plan
from lake.engine import Engine, LocalEngine
from lake.store.foreign import STAGING
from lake.tables import Tables
from tests.support.lakes import Lake, OneEngine, command, new_lake
from tests.support.recordings import recordings

pytestmark = pytest.mark.timeout(400)

KEPT = {
    "arrivals": ("source", "key", "version", "state", "sha256", "asset_id"),
    "blobs": ("sha256", "size_bytes", "content_type", "arrival_id"),
    "assets": ("asset_id", "sha256", "path", "media_kind", "duration_s", "pages"),
    "quarantine": ("arrival_id", "sha256", "stage", "analysis", "error_class", "message", "attempt"),
    "feature_document_text": ("sha256", "page", "text"),
    "feature_loudness": ("sha256", "start_s", "rms_dbfs"),
}


def state(lake: Lake) -> dict[str, Counter[tuple[Any, ...]]]:
    """Every table less run ids, times and places in packs, duplicates counted."""
    there = set(lake.job.tables.names())
    return {
        table: Counter(tuple(row[c] for c in columns) for row in lake.rows(table))
        for table, columns in KEPT.items()
        if table in there
    }


class Killed(BaseException):
    """What a kill looks like from inside: nothing handles it."""


@dataclass(frozen=True)
class Mortal(Tables):
    """Tables whose process dies before its n-th write, or just after it."""

    calls: list[str] = field(default_factory=list)
    dies_at: int = -1
    after: bool = False

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        self.calls.append(name)
        dies = len(self.calls) - 1 == self.dies_at
        if dies and not self.after:
            raise Killed
        yield
        if dies:
            raise Killed

    def append(self, name: str, rows: Any, *, txn: tuple[str, int] | None = None) -> int:
        if not rows.num_rows or name in ("runs", "run_stages"):
            return super().append(name, rows, txn=txn)
        with self._counted(name):
            return super().append(name, rows, txn=txn)

    def add_files(self, name: str, schema: Any, files: Any) -> None:
        if not files:
            return
        with self._counted(name):
            super().add_files(name, schema, files)


def source(folder: Path) -> Path:
    """Some of every kind, one twice, one broken."""
    folder.mkdir()
    for recording in recordings():
        (folder / recording.name).write_bytes(recording.data)
    (folder / "twin.wav").write_bytes(next(r.data for r in recordings() if r.name == "a.wav"))
    (folder / "cut.mp4").write_bytes(next(r.data for r in recordings() if r.name == "a.mp4")[:900])
    (folder / "empty.mp4").touch()
    return folder


def run_all(lake: Lake, tables: Tables, folder: Path, engine: Engine) -> None:
    """Ingest in small waves and analyze, through given tables."""
    job = replace(lake.job, tables=tables)
    invocation = Invocation(json=True)
    plan = replace(make_plan(job, str(folder), None), wave_max_arrivals=14)
    ingest_source(job, invocation, plan, OneEngine(job, engine))
    analyze_all(job, invocation, ("document_text", "loudness"), OneEngine(job, engine))


def test_killed_at_every_commit_and_started_again(tmp_path: Path, local_engine: Engine) -> None:
    folder = source(tmp_path / "in")
    whole = new_lake(str(tmp_path / "whole"), local_engine)
    counting = Mortal(whole.job.tables.root)
    run_all(whole, counting, folder, local_engine)
    expected = state(whole)
    assert len(counting.calls) >= 10
    assert {"blobs", "assets", "arrivals", "quarantine", "feature_loudness"} <= set(counting.calls)
    for moment in range(len(counting.calls)):
        for after in (False, True):
            lake = new_lake(str(tmp_path / "killed"), local_engine)
            mortal = Mortal(lake.job.tables.root, dies_at=moment, after=after)
            with pytest.raises(Killed):
                run_all(lake, mortal, folder, local_engine)
            run_all(lake, lake.job.tables, folder, local_engine)
            assert state(lake) == expected, f"killed {'after' if after else 'before'} {counting.calls[moment]} {moment}"
            shutil.rmtree(tmp_path / "killed")


@pytest.mark.parametrize("verb", ["ingest", "analyze"])
def test_kill_9_in_the_middle(tmp_path: Path, local_engine: Engine, verb: str) -> None:
    """The driver is killed for real as soon as its first wave is committed; its children end with it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(600):
        (folder / f"{number:04}.txt").write_text(f"note {number}\n" * (number % 50 + 1), encoding="utf-8")
    conf = tmp_path / "conf"
    shutil.copytree(Path(__file__).parents[2] / "conf", conf)
    (conf / "lake.yaml").write_text("ingest: {wave_max_arrivals: 100}\nanalysis: {wave_max_recordings: 100}\n")
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    if verb == "analyze":
        lake.ingest(folder)
    watched = "arrivals" if verb == "ingest" else "feature_document_text"
    arguments = ["ingest", str(folder)] if verb == "ingest" else ["analyze", "document_text"]
    command = [sys.executable, "-P", "-m", "jobs.cli", "--root", lake.job.settings.root, *arguments]
    environment = {**os.environ, "LAKE_CONF": str(conf), "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    before = lake.job.tables.open(watched).version() if lake.job.tables.exists(watched) else 0
    try:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if lake.job.tables.exists(watched) and lake.job.tables.open(watched).version() > before:
                break
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = lake.rows(watched)
    column = "arrival_id" if verb == "ingest" else "sha256"
    assert len(rows) == len({row[column] for row in rows}) == 600
    assert lake.ingest(folder)["arrivals"] == 0


def test_an_interrupted_run_leaves_no_spools_and_those_of_others(tmp_path: Path, local_engine: Engine) -> None:
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:04}.txt").write_text(f"note {number}\n" * (number % 50 + 1), encoding="utf-8")
    staging = Path(lake.job.settings.root, STAGING)
    others = staging / "run-of-another" / "lake-1"
    others.mkdir(parents=True)
    process = command(lake, "ingest", str(folder), "--engine", "local")
    deadline = time.monotonic() + 120
    while process.poll() is None and len(list(staging.glob("*/lake-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said.splitlines()[-1]) == (130, "lake: interrupted")
    assert [path for path in staging.rglob("*") if path.name not in ("run-of-another", "lake-1")] == []
    assert others.is_dir()


def left_behind(task: bytes) -> Iterator[bytes]:
    yield tempfile.mkdtemp().encode()


def test_what_workers_leave_in_the_folder_for_temporary_files_goes_with_the_engine() -> None:
    engine = LocalEngine(2)
    left = [Path(each.decode()) for each in engine.run([b""] * 4, left_behind)]
    assert all(path.is_dir() for path in left)
    engine.close()
    assert not any(path.parent.exists() for path in left)
