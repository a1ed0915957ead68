"""What reading asks of a store: seen by a proxy before a real MinIO. No time is looked at."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.context import Job
from lake.catalog.create import create_lake
from lake.engine import Engine
from lake.model import BlobRef
from lake.settings import load_settings
from lake.store.objects import ObjectStore, open_store
from lake.store.reader import MAX_REQUEST_BYTES, scan
from lake.tables import Tables
from tests.support.lakes import Lake
from tests.support.minio import MinioServer
from tests.support.packs import write_packs
from tests.support.proxy import S3Proxy

pytestmark = pytest.mark.timeout(300)

PACK_BYTES = 40 * 1024 * 1024
"""Two and a half requests, so that most of them are full and blobs are cut."""
FAR_S, VERY_FAR_S = 0.05, 0.5


@pytest.fixture
def proxy(minio: MinioServer) -> Iterator[S3Proxy]:
    with S3Proxy(minio) as started:
        yield started


def through(proxy: S3Proxy, root: str) -> ObjectStore:
    return open_store(root, proxy.minio.settings.model_copy(update={"endpoint_url": proxy.endpoint_url}))


def packed(proxy: S3Proxy, bucket: str, tmp_path: Path) -> tuple[ObjectStore, list[BlobRef], list[bytes]]:
    """Blobs of 1 KiB to 4 MiB in packs of a bucket, and the store as it is seen through the proxy."""
    chance = random.Random(5)
    contents = [chance.randbytes(int(2 ** chance.uniform(10, 22))) for _ in range(150)]
    store = through(proxy, f"s3://{bucket}")
    blobs = [(data, "application/octet-stream", None) for data in contents]
    refs = write_packs(store, tmp_path / "scratch", blobs, target_bytes=PACK_BYTES)
    proxy.count_anew()
    return store, refs, contents


@pytest.mark.parametrize("delay_s", [0.0, FAR_S])
def test_a_scan_reads_little_more_than_the_payload_in_few_requests(
    proxy: S3Proxy, bucket: str, tmp_path: Path, delay_s: float
) -> None:
    """A GET for each 16 MiB of a pack and one for what is left of it: no request reaches over the end of an object."""
    store, refs, contents = packed(proxy, bucket, tmp_path)
    proxy.delay_s = delay_s
    shuffled = list(refs)
    random.Random(6).shuffle(shuffled)
    found = dict(scan(store, shuffled))
    assert list(found) == sorted(refs, key=lambda ref: (ref.pack_uri, ref.offset))
    assert [found[ref] for ref in refs] == contents
    payload_bytes = sum(map(len, contents))
    packs = {ref.pack_uri for ref in refs}
    read = proxy.traffic.read(".pack")
    assert len(packs) > 1
    assert payload_bytes <= sum(read) <= 1.02 * payload_bytes
    assert len(read) <= payload_bytes // MAX_REQUEST_BYTES + len(packs)
    assert sum(proxy.traffic.requests.values()) == len(read)
    assert max(read) == MAX_REQUEST_BYTES


def test_a_far_store_is_asked_for_several_things_at_once(proxy: S3Proxy, bucket: str, tmp_path: Path) -> None:
    store, refs, _ = packed(proxy, bucket, tmp_path)
    proxy.delay_s = VERY_FAR_S
    assert len(list(scan(store, refs))) == len(refs)
    assert 3 <= proxy.traffic.most_together <= 4


def lake_through(proxy: S3Proxy, root: str, engine: Engine) -> Lake:
    """A new lake as it is seen through the proxy. Made without it: deltalake creates a table without letting any other
    thread of this process run, so also none of the proxy's."""
    direct, far = (lake_at(proxy, root, url, engine) for url in (proxy.minio.endpoint_url, proxy.endpoint_url))
    create_lake(direct.job.settings, direct.job.tables, direct.job.store)
    return far


def lake_at(proxy: S3Proxy, root: str, endpoint_url: str, engine: Engine) -> Lake:
    s3 = proxy.minio.settings.model_copy(update={"endpoint_url": endpoint_url})
    settings = load_settings(root, None).model_copy(update={"s3": s3})
    return Lake(Job(settings, Tables(root, settings.storage_options()), open_store(root, s3)), engine)


def recordings(folder: Path) -> Path:
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"note {number % 10}\n" * 40 * (number + 1), encoding="utf-8")
    (folder / "twin.txt").write_bytes((folder / "3.txt").read_bytes())
    return folder


def test_a_single_recording_is_one_request_after_the_look_up(
    proxy: S3Proxy, bucket: str, local_engine: Engine, tmp_path: Path
) -> None:
    lake = lake_through(proxy, f"s3://{bucket}/city", local_engine)
    folder = recordings(tmp_path / "in")
    lake.ingest(folder)
    row = next(row for row in lake.rows("assets") if row["path"] == "7.txt")
    proxy.count_anew()
    assert lake.read(row) == (folder / "7.txt").read_bytes()
    assert sum(proxy.traffic.requests.values()) == 1
    assert proxy.traffic.read(".pack") == [row["size_bytes"]]
    proxy.count_anew()
    assert lake.read(row["sha256"]) == (folder / "7.txt").read_bytes()
    assert proxy.traffic.read(".pack") == [row["size_bytes"]]


@pytest.mark.parametrize("delay_s", [FAR_S, VERY_FAR_S])
def test_an_ingest_into_a_slow_store_ends_well(
    proxy: S3Proxy, bucket: str, local_engine: Engine, tmp_path: Path, delay_s: float
) -> None:
    lake = lake_through(proxy, f"s3://{bucket}/city", local_engine)
    folder = recordings(tmp_path / "in")
    proxy.count_anew()
    proxy.delay_s = delay_s
    report = lake.ingest(folder)
    proxy.delay_s = 0.0
    again = lake.ingest(folder)
    assert proxy.traffic.requests["PUT"] > 4
    assert (report["arrivals"], report["landed"], report["duplicates"], report["quarantined"]) == (13, 12, 1, 0)
    assert (again["landed"], again["duplicates"]) == (0, 0)
    assert {row["state"] for row in lake.rows("arrivals")} == {"landed", "duplicate"}
    assert len(lake.rows("blobs")) == len({row["sha256"] for row in lake.rows("blobs")}) == 12
    assert len(lake.rows("assets")) == 13
    for row in lake.rows("assets"):
        assert lake.read(row) == (folder / row["path"]).read_bytes()
