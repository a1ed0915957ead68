"""A decoder that hangs or is killed in the middle of a real run costs the recording it was at, and nothing else."""

from __future__ import annotations

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from lake.engine import Engine
from tests.support.analysis_media import encoded, scene
from tests.support.lakes import Lake, new_lake

pytestmark = pytest.mark.timeout(300)

RECORDINGS = 600


@contextmanager
def struck(number: signal.Signals, memory_bytes: int) -> Iterator[list[int]]:
    """Send a signal to the first decoding child with this limit that decodes; yields the pids it met."""
    met: list[int] = []
    written: dict[int, int] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.is_set() and not met:
            for child in psutil.Process().children(recursive=True):
                try:
                    # One that is still starting costs no recording: it is met once it says that it is ready, or more.
                    if child.rlimit(resource.RLIMIT_AS)[0] != memory_bytes:
                        continue
                    writes = child.io_counters().write_count
                    if writes > written.setdefault(child.pid, writes):
                        child.send_signal(number)
                        met.append(child.pid)
                        break
                except psutil.Error:
                    continue
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield met
    finally:
        done.set()
        watcher.join()


@pytest.mark.parametrize(
    ("number", "error_class", "said"),
    [(signal.SIGSTOP, "LimitExceeded", "within 5 s"), (signal.SIGKILL, "DecoderCrashed", "signal 9")],
    ids=["hangs", "is killed"],
)
def test_it_costs_one_recording(
    tmp_path: Path, local_engine: Engine, number: signal.Signals, error_class: str, said: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for each in range(RECORDINGS):
        (folder / f"{each:04}.png").write_bytes(encoded(scene(each), "PNG"))
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    # A limit of its own gives this test children of its own.
    limits = lake.job.settings.limits.model_copy(update={"time_s": 5.0, "memory_bytes": (3 << 30) + number * 4096})
    lake = Lake(replace(lake.job, settings=lake.job.settings.model_copy(update={"limits": limits})), local_engine)
    with struck(number, limits.memory_bytes) as met:
        report = lake.ingest(folder)
    assert len(met) == 1
    assert (report["landed"], report["quarantined"]) == (RECORDINGS - 1, 1)
    (row,) = lake.rows("quarantine")
    assert row["error_class"] == error_class
    assert said in row["message"]
    assert lake.read(row["asset_id"]) == (folder / row["path"]).read_bytes()
