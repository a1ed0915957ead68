"""Readers of old versions during all of the upkeep: tables, packs, published libraries, open streams, Spark."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs.cli import Invocation
from jobs.upkeep import maintain
from lake.catalog.read import open_recording
from lake.catalog.spark_query import spark_uri
from lake.engine import Engine
from lake.errors import LakeError, NotFound
from lake.history import remove_old_files
from lake.library.catalog import library_table
from lake.library.inputs import read_version
from tests.integration.conftest import publish
from tests.support.ageing import stand_still
from tests.support.lakes import Lake, OneEngine, new_lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(300)

HOLD_HOURS = 168
LONG_AGO = timedelta(days=40)
"""Longer than the log is kept: of a lake that stood still, only what is current counts as young."""
DELIVERIES, EACH = 10, 6


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    """A lake of several deliveries and one large recording that then stood still."""
    lake = new_lake(str(tmp_path / "lake"), local_engine)
    folder, draw = tmp_path / "in", random.Random(13)
    folder.mkdir()
    (folder / "large.bin").write_bytes(draw.randbytes(20 * 1024**2))
    for delivery in range(DELIVERIES):
        for number in range(EACH):
            (folder / f"{delivery}-{number}.bin").write_bytes(draw.randbytes(draw.randint(100, 3000)))
        lake.ingest(folder)
    stand_still(lake.job.settings.root, LONG_AGO)
    return lake


def upkeep(lake: Lake, hold_hours: int = HOLD_HOURS) -> dict[str, Any]:
    return maintain(lake.job, Invocation(json=True), OneEngine(lake.job, lake.engine), hold_hours)


def sorted_rows(rows: pa.Table) -> list[str]:
    return sorted(map(str, rows.to_pylist()))


def read_by_place(lake: Lake, row: dict[str, Any]) -> bytes:
    """A recording as a reader has it that goes by its old FILE reference alone."""
    file = row["file"]
    return lake.job.store.get_range(file["uri"], file["offset"], file["size"])


def test_readers_of_old_versions_read_on_until_the_hold_ends(lake: Lake, tmp_path: Path) -> None:
    tables = lake.job.tables
    expected = {name: sorted_rows(tables.dataset(name).to_table()) for name in tables.names() if tables.files(name)}
    versions = {name: int(tables.open(name).version()) for name in expected}
    opened = {name: tables.dataset(name) for name in expected}
    assets = lake.rows("assets")
    contents = {row["sha256"]: (tmp_path / "in" / row["path"]).read_bytes() for row in assets}
    large = next(row for row in assets if row["path"] == "large.bin")
    with open_recording(tables, lake.job.store, large) as stream:
        begun = stream.read(1024**2)
        report = upkeep(lake)
        assert report["tables"]["assets"]["files_after"] == report["compact"]["written"] == 1
        assert report["compact"]["rewritten"] == DELIVERIES
        assert begun + stream.read() == contents[large["sha256"]]
    for name, rows in expected.items():
        assert sorted_rows(opened[name].to_table()) == rows, f"{name}, opened before"
        assert sorted_rows(tables.dataset(name, versions[name]).to_table()) == rows, f"{name}, opened at its version"
    assert all(read_by_place(lake, row) == contents[row["sha256"]] for row in assets)
    # When the hold is over, what was held is gone: without it the readers above would have failed.
    assert lake.gc(0.0)["deleted"] == DELIVERIES
    with pytest.raises(NotFound):
        [read_by_place(lake, row) for row in assets]
    for name in ("assets", "blobs", "arrivals"):
        assert remove_old_files(tables, name, 0) >= DELIVERIES
        with pytest.raises((LakeError, FileNotFoundError)):
            opened[name].to_table()
    assert {row["sha256"]: lake.read(row) for row in assets} == contents


def test_a_library_opens_as_published_until_another_version_is(lake: Lake, tmp_path: Path) -> None:
    """A build that was killed left newer rows, and the published ones are older than the log is kept."""
    tables = lake.job.tables
    rows = tables.dataset("assets").to_table(columns=["asset_id", "sha256", "path", "file"])
    publish(tables, "site_watch", "shots", rows)
    write_deltalake(tables.open("site_watch.shots"), rows.slice(0, 1), mode="overwrite")
    for _ in range(3):
        stand_still(lake.job.settings.root, LONG_AGO)
        upkeep(lake)
        shots = library_table(tables, "site_watch", "shots")
        assert sorted_rows(shots) == sorted_rows(rows)
        for row in shots.to_pylist():
            assert lake.read(row) == (tmp_path / "in" / row["path"]).read_bytes()
    # A clean-up that does not know what is published takes it away.
    remove_old_files(tables, "site_watch.shots", 0)
    with pytest.raises((LakeError, FileNotFoundError)):
        library_table(tables, "site_watch", "shots")


@contextmanager
def again_and_again(read: Callable[[], object]) -> Iterator[list[object]]:
    """A reader that goes on while the block runs; each thing it saw, once."""
    seen: list[object] = []
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                found = read()
            except Exception as error:
                found = error
            if found not in seen:
                seen.append(found)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def test_who_reads_while_upkeep_runs_sees_the_same_rows_and_bytes(lake: Lake) -> None:
    tables = lake.job.tables
    version = int(tables.open("blobs").version())
    row = lake.rows("assets")[3]

    def read() -> object:
        return (
            tables.dataset("blobs", version).count_rows(),
            tables.dataset("assets").count_rows(),
            lake.read(row) == read_by_place(lake, row),
        )

    with again_and_again(read) as seen:
        upkeep(lake)
    assert seen == [(DELIVERIES * EACH + 1, DELIVERIES * EACH + 1, True)]


def test_spark_readers_and_streams_read_on(lake: Lake, spark: SparkSession, tmp_path: Path) -> None:
    """A query half read, a time travel, and a stream that was stopped in the middle of the table."""
    tables = lake.job.tables
    uri = spark_uri(tables.uri("assets"))
    expected = sorted(row["asset_id"] for row in lake.rows("assets"))
    pinned = read_version(spark, uri, int(tables.open("assets").version()))
    half_read = pinned.select("asset_id").toLocalIterator()
    first = next(half_read)

    # Compaction has ``file`` say where contents lie now: no news to a stream, which is told to skip such commits.
    source = spark.readStream.format("delta").options(maxFilesPerTrigger=2, skipChangeCommits=True).load(uri)
    sink = source.select("asset_id").writeStream.option("checkpointLocation", str(tmp_path / "checkpoint"))
    stream = sink.trigger(processingTime="1 hour").start(str(tmp_path / "out"), "parquet")
    while not stream.lastProgress:
        time.sleep(0.1)
    stream.stop()
    begun = spark.read.parquet(str(tmp_path / "out")).count()
    assert 0 < begun < len(expected)
    upkeep(lake)
    assert sorted([first["asset_id"], *(row["asset_id"] for row in half_read)]) == expected
    assert sorted(row["asset_id"] for row in pinned.select("asset_id").collect()) == expected
    sink.trigger(availableNow=True).start(str(tmp_path / "out"), "parquet").awaitTermination()
    assert sorted(row["asset_id"] for row in spark.read.parquet(str(tmp_path / "out")).collect()) == expected
