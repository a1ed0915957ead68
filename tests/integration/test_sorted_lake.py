"""A lake after its upkeep: tables in the order of look-ups, with filters, and ingest still stores each content once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import Invocation
from jobs.upkeep import maintain
from lake.catalog.maintain import maintain_tables
from lake.catalog.sort import SORTED_PREFIX
from lake.engine import Engine
from lake.schema import ARRIVALS, LIBRARY_VERSIONS
from lake.store.lookup import parted
from lake.store.usage import KEPT, current_usage, usage_of
from lake.tables import Tables
from tests.support.lakes import Lake, OneEngine, bucket_lake, new_lake
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(120)


def deliver(folder: Path, prefix: str, count: int, seed: int) -> dict[str, bytes]:
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{prefix}-{number:03}.bin": draw.randbytes(500) for number in range(count)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files


@pytest.fixture
def lake(tmp_path: Path, local_engine: Engine) -> Lake:
    return kept_up(new_lake(str(tmp_path / "lake"), local_engine), tmp_path)


def kept_up(lake: Lake, folder: Path) -> Lake:
    """A lake of nine deliveries, kept up."""
    for run in range(9):
        deliver(folder / "in", f"run{run}", 10, run)
        lake.ingest(folder / "in")
    maintain(lake.job, Invocation(json=True), OneEngine(lake.job, lake.engine), 168)
    return lake


def packs(lake: Lake) -> int:
    return len(list(lake.job.store.list("packs")))


def test_new_contents_are_stored_and_copies_are_not(lake: Lake, tmp_path: Path) -> None:
    assert len(parted(lake.job.tables.dataset("blobs"), "sha256").groups) == 1
    before = packs(lake)
    for number in range(10):
        (tmp_path / "in" / f"copy-{number}.bin").write_bytes((tmp_path / "in" / f"run3-{number:03}.bin").read_bytes())
    report = lake.ingest(tmp_path / "in")
    assert (report["arrivals"], report["landed"], report["duplicates"]) == (10, 0, 10)
    assert packs(lake) == before
    assert len(lake.rows("blobs")) == 90
    new = deliver(tmp_path / "in", "new", 10, 99)
    assert lake.ingest(tmp_path / "in")["landed"] == 10
    assert len(lake.rows("assets")) == 110
    for row in lake.rows("assets"):
        if row["path"] in new:
            assert lake.read(row) == new[row["path"]]


def test_the_same_on_a_bucket(
    minio: MinioServer, bucket: str, local_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = kept_up(bucket_lake(minio, bucket, local_engine, monkeypatch), tmp_path)
    test_new_contents_are_stored_and_copies_are_not(lake, tmp_path)
    store, tables = lake.job.store, lake.job.tables
    used = current_usage(store, tables.dataset("blobs"), tables.folder("blobs"))
    assert (used, used.blobs) == (usage_of(tables.dataset("blobs")), 100)
    assert any(entry.key.endswith(KEPT) for entry in store.list(tables.folder("blobs")))


def test_contents_that_a_filter_takes_for_stored_ones_are_landed_all_the_same(lake: Lake, tmp_path: Path) -> None:
    (group,) = parted(lake.job.tables.dataset("blobs"), "sha256").groups
    path = Path(lake.job.tables.uri("blobs"), group.span.path)
    stored = bytearray(path.read_bytes())
    end = group.filter_offset + group.filter_bytes
    bits = 2 ** (group.filter_bytes.bit_length() - 1)  # all but the header before them
    stored[end - bits : end] = b"\xff" * bits
    path.write_bytes(stored)
    new = deliver(tmp_path / "in", "new", 40, 99)
    report = lake.ingest(tmp_path / "in")
    assert (report["arrivals"], report["landed"]) == (40, 40)
    rows = [row for row in lake.rows("assets") if row["path"] in new]
    assert len(rows) == 40
    assert all(lake.read(row["asset_id"]) == new[row["path"]] for row in rows)


def test_tables_are_in_the_order_of_look_ups_however_much_their_keys_share(tmp_path: Path) -> None:
    tables = Tables(str(tmp_path))
    tables.create("arrivals", ARRIVALS)
    tables.create("library_versions", LIBRARY_VERSIONS)
    draw = random.Random(5)
    keys = [
        (f"file:///srv/recordings/site-{n % 3}", f"building-three/floor-02/cam-{n % 7}/{n:05}.wav") for n in range(400)
    ]
    draw.shuffle(keys)
    for start in range(0, 400, 40):
        made: dict[str, Any] = {
            "source": [source for source, _ in keys[start : start + 40]],
            "key": [key for _, key in keys[start : start + 40]],
        }
        nulls = {field.name: pa.nulls(40, field.type) for field in ARRIVALS}
        tables.append("arrivals", pa.table({**nulls, **made}, schema=ARRIVALS))
    report = maintain_tables(tables, 168)
    assert (report.tables["arrivals"].files_before, report.tables["arrivals"].files_after) == (10, 1)
    (fragment,) = tables.dataset("arrivals").get_fragments()
    assert fragment.path.startswith(SORTED_PREFIX)
    rows = pq.read_table(Path(tables.uri("arrivals"), fragment.path), columns=["source", "key"]).to_pylist()
    assert [(row["source"], row["key"]) for row in rows] == sorted(keys)
