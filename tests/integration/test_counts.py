"""The dearest things of an analyze run, counted: opens, decodes, loads of models, requests, bytes through the JVM."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.analyze import analyze_all
from jobs.cli import Invocation
from lake.engine import Engine, SparkEngine
from lake.engine.base import TaskFunction, TaskOutput
from lake.model import Row
from lake.store.reader import MAX_REQUEST_BYTES
from tests.support.analysis_media import RATE_HZ, avi, tone, wav
from tests.support.jvm_traffic import JvmTraffic
from tests.support.lakes import Lake, OneEngine, bucket_lake, command, new_lake
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(300)

FRAMES = 50
SILERO = "builtin:silero-vad"

COUNTING = """
import json
import os

import av
import pyarrow as pa

from lake.analysis.base import Analysis
from lake.media import streams
from lake.media.decode import audio_blocks
from lake.models.loaded import LOADS

OPEN, FINISHED = av.open, streams._Open.finished


def note(**facts):
    with open({log!r}, "a") as log:
        log.write(json.dumps({{"pid": os.getpid(), **facts}}) + "\\n")


def opening(*arguments, **options):
    note(what="open")
    return OPEN(*arguments, **options)


def finishing(stream):
    note(what=stream.stream.type, frames=stream._given)
    yield from FINISHED(stream)


def run(media, params):
    # A decode waits until all of its readers have asked, so the first one is counted too.
    av.open, streams._Open.finished = opening, finishing
    samples = sum(len(block) for block in audio_blocks(media, 8000))
    note(what="result", loads=dict(LOADS))
    yield {{"samples": samples}}


COUNTED = Analysis("counted", "1", ("audio", "video"), (), pa.schema([("samples", pa.int64())]), run)
"""
"""An analysis that writes down what its child opens and decodes for all of them."""


def noise(number: int, samples: int = RATE_HZ) -> Any:
    """Sound that no other number has."""
    return np.random.default_rng(number).uniform(-0.3, 0.3, samples).astype(np.float32)


def sounds_and_films(folder: Path) -> Path:
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.wav").write_bytes(wav(noise(number)))
        pictures = [np.full((64, 64, 3), 40 * number + frame % 8, np.uint8) for frame in range(FRAMES)]
        (folder / f"{number}.avi").write_bytes(avi(pictures, 25, tone(2.0, 200.0 + number, 0.3, RATE_HZ)))
    return folder


@pytest.fixture
def notes(lake: Lake, tmp_path: Path) -> list[Row]:
    """What the children of a run of four analyses wrote down, on each engine in turn."""
    # Limits of its own give this test children of its own; small waves give each of them several tasks.
    limits = lake.job.settings.limits.model_copy(update={"memory_bytes": (4 << 30) + 5 * 4096})
    small = lake.job.settings.analysis.model_copy(update={"wave_max_recordings": 4})
    job = replace(lake.job, settings=lake.job.settings.model_copy(update={"limits": limits, "analysis": small}))
    lake.ingest(sounds_and_films(tmp_path / "in"))
    log, file = tmp_path / "log", tmp_path / "counting.py"
    file.write_text(COUNTING.format(log=str(log)))
    names = ("keyframes", "speech", "loudness", "counted")
    document = analyze_all(job, Invocation(json=True), names, OneEngine(job, lake.engine), modules=[str(file)])
    counts = {name: (each["done"], each["failed"]) for name, each in document["analyses"].items()}
    assert counts == {"keyframes": (6, 0), "speech": (12, 0), "loudness": (12, 0), "counted": (12, 0)}
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_recording_is_opened_and_decoded_once_for_four_analyses(notes: list[Row]) -> None:
    assert Counter(row["what"] for row in notes) == {"open": 12, "video": 6, "audio": 12, "result": 12}
    assert [row["frames"] for row in notes if row["what"] == "video"] == [FRAMES] * 6


def test_each_child_loads_a_model_once(notes: list[Row]) -> None:
    loads = {row["pid"]: row["loads"] for row in notes if row["what"] == "result"}
    assert 1 <= len(loads) <= 2
    assert list(loads.values()) == [{SILERO: 1}] * len(loads)


RECORDINGS, SAMPLES = 240, 50_000
TASKS = 4 * (os.cpu_count() or 1)
"""Of a wave, at most: each reads a stretch of its own."""
OTHERS = 117
"""Requests that tables cost, whatever the number of recordings is; a task has one more, for its results."""


def test_a_run_asks_a_bucket_for_little_more_than_the_recordings_in_few_requests(
    minio: MinioServer, bucket: str, local_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(RECORDINGS):
        (tmp_path / "in" / f"{number}.wav").write_bytes(wav(noise(number, SAMPLES)))
    lake = bucket_lake(minio, bucket, local_engine, monkeypatch)
    lake.ingest(tmp_path / "in")
    blobs = lake.rows("blobs")
    payload_bytes = sum(row["length"] for row in blobs)
    packs = len({row["pack_uri"] for row in blobs})
    with S3Proxy(minio) as proxy:
        process = command(lake, "analyze", "loudness", "--engine", "local", "--json", **proxy.environ())
        out, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
        read = proxy.traffic.read(".pack")
        requests = sum(proxy.traffic.requests.values())
    assert json.loads(out)["analyses"]["loudness"] == {"done": RECORDINGS, "skipped": 0, "failed": 0}
    assert payload_bytes <= sum(read) <= 1.02 * payload_bytes
    assert len(read) <= payload_bytes // MAX_REQUEST_BYTES + packs + TASKS
    assert requests - len(read) <= OTHERS + TASKS
    assert OTHERS < RECORDINGS


class Weighed:
    """An engine that weighs what goes to tasks and comes back."""

    name = "spark"

    def __init__(self, engine: Engine) -> None:
        self.engine, self.slots, self.gpu_slots = engine, engine.slots, engine.gpu_slots
        self.there_bytes = self.back_bytes = 0

    def run(self, tasks: Sequence[bytes], function: TaskFunction, *, gpu: bool = False) -> Iterator[TaskOutput]:
        self.there_bytes += sum(map(len, tasks))
        for output in self.engine.run(tasks, function, gpu=gpu):
            self.back_bytes += len(output)
            yield output

    def close(self) -> None:
        self.engine.close()


REFERENCE_BYTES = 4096
"""What a recording may weigh in the JVM, all ways of it together."""


def test_recordings_do_not_pass_through_the_jvm(spark: SparkSession, tmp_path: Path) -> None:
    engine = Weighed(SparkEngine(spark, 2))
    lake = new_lake(str(tmp_path / "lake"), engine)
    (tmp_path / "in").mkdir()
    for number in range(RECORDINGS):
        (tmp_path / "in" / f"{number}.wav").write_bytes(wav(noise(number)))
    lake.ingest(tmp_path / "in")
    engine.there_bytes = engine.back_bytes = 0
    with JvmTraffic(spark) as traffic:
        document = lake.analyze("loudness", "speech")
    assert {name: counts["done"] for name, counts in document["analyses"].items()} == {
        "loudness": RECORDINGS,
        "speech": RECORDINGS,
    }
    found = traffic.total_bytes()
    assert found["to_python"] >= engine.there_bytes > 0
    assert found["from_python"] >= engine.back_bytes > 0
    assert document["bytes"] > RECORDINGS * 4 * REFERENCE_BYTES
    assert sum(found.values()) < RECORDINGS * REFERENCE_BYTES, found
