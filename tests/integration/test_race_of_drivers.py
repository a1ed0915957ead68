"""Four Spark drivers append fifty times each to one table on MinIO: nothing is lost, and Delta's own store loses some.

They are released together for an append, and commits are under way for a while, as they are to a store that is not on
this machine: otherwise whole appends collide too rarely for a control that must lose. The last appends are made by each
driver as quickly as it can.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from lake.store.objects import open_store
from tests.integration.test_commits import IDS, ids_of, tables_of
from tests.support.drivers import append, spark_drivers
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

DRIVERS, APPENDS = 4, 50
TOGETHER = 4
DELTAS_STORE = "io.delta.storage.S3SingleDriverLogStore"
COMMITS_TAKE_S = 0.3
TABLE = "feature_race"


@contextmanager
def racing(minio: MinioServer, bucket: str, *log_store: str) -> Iterator[Callable[[int], set[str]]]:
    """A function that has all drivers append so often, and gives the rows of which they say that they are in."""
    client(minio).set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(ENABLED))
    root = f"s3://{bucket}/city"
    tables_of(minio, root).create(TABLE, IDS)
    done = 0
    with (
        S3Proxy(minio, commits_take_s=COMMITS_TAKE_S) as proxy,
        spark_drivers(root, TABLE, DRIVERS, proxy.environ(), *log_store) as drivers,
        ThreadPoolExecutor(DRIVERS) as pool,
    ):

        def appended(times: int) -> set[str]:
            nonlocal done
            numbers = range(done, done + times)
            done += times
            said = pool.map(lambda driver: [append(driver) for _ in numbers], drivers)
            return {
                f"spark{driver}-{number}"
                for driver, answers in enumerate(said)
                for number, answer in zip(numbers, answers, strict=True)
                if answer == "done\n"
            }

        yield appended


def client(minio: MinioServer) -> Minio:
    address = f"127.0.0.1:{minio.port}"
    return Minio(endpoint=address, access_key=minio.access_key, secret_key=minio.secret_key, secure=False)


def writes(minio: MinioServer, bucket: str) -> Counter[str]:
    """How often each commit file was written: the bucket keeps all versions of an object."""
    found = client(minio).list_objects(bucket_name=bucket, recursive=True, include_version=True)
    names = [str(each.object_name) for each in found]
    return Counter(name for name in names if "/_delta_log/" in name and name.endswith(".json"))


def transactions(minio: MinioServer, bucket: str) -> list[str]:
    """Ids of the transactions whose commits can be read."""
    store = open_store(f"s3://{bucket}", minio.settings)
    actions = [json.loads(line) for key in writes(minio, bucket) for line in store.get(key).splitlines()]
    return [action["commitInfo"]["txnId"] for action in actions if "txnId" in action.get("commitInfo", {})]


def test_nothing_is_lost(minio: MinioServer, bucket: str) -> None:
    told: set[str] = set()
    with racing(minio, bucket) as appended:
        for _ in range(TOGETHER):
            told |= appended(1)
        told |= appended(APPENDS - TOGETHER)
    assert len(told) == DRIVERS * APPENDS
    assert Counter(ids_of(tables_of(minio, f"s3://{bucket}/city"), TABLE)) == Counter(told)
    found = transactions(minio, bucket)
    assert len(found) == len(set(found)) == DRIVERS * APPENDS
    written = writes(minio, bucket)
    assert (len(written), set(written.values())) == (1 + DRIVERS * APPENDS, {1})


def test_the_same_race_loses_appends_with_deltas_store(minio: MinioServer, bucket: str) -> None:
    """Two drivers write one commit file, and are both told that it is theirs; who reads it meanwhile may fail."""
    told: set[str] = set()
    with racing(minio, bucket, DELTAS_STORE) as appended:
        for _ in range(APPENDS):
            told |= appended(1)
            lost = told - set(ids_of(tables_of(minio, f"s3://{bucket}/city"), TABLE))
            if lost:
                break
    assert lost
    assert max(writes(minio, bucket).values()) > 1
