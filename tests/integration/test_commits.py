"""Of several writers exactly one wins a version, on MinIO as on a folder; nothing is lost and nothing is doubled.

Real processes race: JVMs for the LogStore alone, where whole appends collide too rarely to show a fault, and whole
Spark drivers. Controls show that the race is hard enough: Delta's own stores lose commits in it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from lake.session import LOG_STORE_FILE, LOG_STORE_S3
from lake.store.objects import ObjectStore, open_store
from lake.tables import Tables
from tests.support.drivers import append, spark_drivers
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy
from tests.support.race import Racers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.timeout(600)

VERSIONS = 40
CONTROL_VERSIONS = 600
"""At most: a control ends at its first lost commit, which comes after about 20 (S3) and 50 (folder) versions."""
WRITERS = 3
APPENDS = 3
IDS = pa.schema([("id", pa.string())])


@pytest.fixture(scope="module")
def lossy(minio: MinioServer) -> Iterator[S3Proxy]:
    """A store that can lose answers."""
    with S3Proxy(minio) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def lossy_bucket(minio: MinioServer) -> str:
    """The bucket that racers reach through the lossy store."""
    return minio.fresh_bucket()


@pytest.fixture(scope="module")
def racers(
    tmp_path_factory: pytest.TempPathFactory, minio: MinioServer, lossy: S3Proxy, lossy_bucket: str
) -> Iterator[Racers]:
    hadoop = {
        f"fs.s3a.bucket.{lossy_bucket}.endpoint": lossy.endpoint_url,
        "fs.s3a.endpoint": minio.endpoint_url,
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.access.key": minio.access_key,
        "fs.s3a.secret.key": minio.secret_key,
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
    }
    with Racers(tmp_path_factory.mktemp("racers"), WRITERS, hadoop) as started:
        yield started


def each_version_has_one_winner(racers: Racers, log_store: str, uri: str, store: ObjectStore) -> None:
    for version in range(VERSIONS):
        answers = racers.race(log_store, f"{uri}/{version:020}.json")
        assert not [answer.failure for answer in answers if answer.failure]
        winners = [answer.content for answer in answers if answer.won]
        assert len(winners) == 1, f"version {version} has {len(winners)} winners"
        assert store.get(f"{version:020}.json") == f"{winners[0]}\n".encode()
    assert len(list(store.list(""))) == VERSIONS


def loses_commits(racers: Racers, log_store: str, uri: str) -> bool:
    """Whether some version was won by several writers: all but one of them lost a commit they were told is theirs."""
    return any(
        sum(answer.won for answer in racers.race(log_store, f"{uri}/{version:020}.json")) > 1
        for version in range(CONTROL_VERSIONS)
    )


def test_one_winner_on_minio(racers: Racers, minio: MinioServer, bucket: str) -> None:
    store = open_store(f"s3://{bucket}/log", minio.settings)
    each_version_has_one_winner(racers, LOG_STORE_S3, f"s3a://{bucket}/log", store)


def test_the_same_race_loses_commits_with_deltas_store_for_s3(racers: Racers, bucket: str) -> None:
    assert loses_commits(racers, "io.delta.storage.S3SingleDriverLogStore", f"s3a://{bucket}/log")


def test_one_winner_in_a_folder(racers: Racers, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    each_version_has_one_winner(racers, LOG_STORE_FILE, f"file://{tmp_path}/log", open_store(str(tmp_path / "log")))
    assert len(os.listdir(tmp_path / "log")) == VERSIONS, "something was left beside the commits"


def test_the_same_race_loses_commits_with_deltas_store_for_folders(racers: Racers, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert loses_commits(racers, "io.delta.storage.LocalLogStore", f"file://{tmp_path}/log")


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_winner_knows_its_commit_when_the_answer_is_lost(
    racers: Racers, lossy: S3Proxy, lossy_bucket: str, minio: MinioServer, lost: int
) -> None:
    """The SDK tries again and is refused by its own first try; a loser's lost answer makes it no winner."""
    store = open_store(f"s3://{lossy_bucket}/log{lost}", minio.settings)
    for version in range(5):
        lossy.count_anew(lose_answer_to=lost)
        answers = racers.race(LOG_STORE_S3, f"s3a://{lossy_bucket}/log{lost}/{version:020}.json")
        assert lossy.lost
        assert not [answer.failure for answer in answers if answer.failure]
        winners = [answer.content for answer in answers if answer.won]
        assert len(winners) == 1, f"version {version} has {len(winners)} winners"
        assert store.get(f"{version:020}.json") == f"{winners[0]}\n".encode()


def test_spark_drivers_and_an_embedded_writer_lose_nothing(minio: MinioServer, bucket: str) -> None:
    root, table = f"s3://{bucket}/city", "feature_race"
    tables = tables_of(minio, root)
    tables.create(table, IDS)
    embedded: list[str] = []
    with spark_drivers(root, table, WRITERS, minio.environ()) as drivers, ThreadPoolExecutor(WRITERS) as pool:
        assert minio.secret_key not in command_lines()
        done = [pool.submit(lambda each=driver: [append(each) for _ in range(APPENDS)]) for driver in drivers]
        # Delta-rs appends for as long as one of them does; not so quickly that none of them ever wins.
        while wait(done, timeout=0.5).not_done:
            embedded.append(f"embedded-{len(embedded)}")
            tables.append(table, pa.table({"id": embedded[-1:]}, schema=IDS))
        assert [each.result() for each in done] == [["done\n"] * APPENDS] * WRITERS
    expected = [f"spark{writer}-{n}" for writer in range(WRITERS) for n in range(APPENDS)] + embedded
    assert sorted(ids_of(tables, table)) == sorted(expected)
    # Every so many commits the embedded writer merges small files too, which adds no row.
    commits = [each for each in read_log(minio, root, tables.folder(table)) if each["operation"] != "OPTIMIZE"]
    assert len(commits) == 1 + WRITERS * APPENDS + len(embedded)
    transactions = [info["txnId"] for info in commits if "txnId" in info]
    assert len(set(transactions)) == len(transactions) == WRITERS * APPENDS


def command_lines() -> str:
    """What everyone on this machine can see of all processes."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().decode(errors="replace").replace("\0", " "))
    assert any("spark" in line for line in lines)
    return "\n".join(lines)


def test_a_lost_answer_doubles_nothing(spark: SparkSession, lossy: S3Proxy, minio: MinioServer, bucket: str) -> None:
    """Each PUT of an append in turn is carried out and its answer lost: the client cannot know, and tries again."""
    root, table = f"s3://{bucket}/city", "feature_lost"
    tables = tables_of(minio, root)
    tables.create(table, IDS)
    expected: list[str] = []
    lost: list[str] = []
    with s3a_at(spark, bucket, lossy.endpoint_url, minio):
        while True:
            lossy.count_anew(lose_answer_to=len(expected) + 1)
            expected.append(f"row-{len(expected)}")
            rows = spark.createDataFrame([(expected[-1],)], "id string").coalesce(1)
            rows.write.format("delta").mode("append").save(tables.uri(table).replace("s3://", "s3a://"))
            assert sorted(ids_of(tables, table)) == sorted(expected), f"after the lost answer to {lossy.lost}"
            if not lossy.lost:
                break
            lost += lossy.lost
    assert [path for path in lost if path.endswith(".json")], lost
    assert [path for path in lost if ".parquet" in path], lost
    assert len(read_log(minio, root, tables.folder(table))) == 1 + len(expected)


@contextlib.contextmanager
def s3a_at(spark: SparkSession, bucket: str, endpoint_url: str, minio: MinioServer) -> Iterator[None]:
    """One bucket of a running session behind another endpoint."""
    settings = {
        "endpoint": endpoint_url,
        "access.key": minio.access_key,
        "secret.key": minio.secret_key,
        "connection.ssl.enabled": "false",
    }
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    for key, value in settings.items():
        hadoop.set(f"fs.s3a.bucket.{bucket}.{key}", value)
    yield
    for key in settings:
        hadoop.unset(f"fs.s3a.bucket.{bucket}.{key}")


def ids_of(tables: Tables, table: str) -> list[str]:
    """All ids of a table, read by delta-rs straight from the server."""
    ids: list[str] = tables.dataset(table).to_table().column("id").to_pylist()
    return ids


def tables_of(minio: MinioServer, root: str) -> Tables:
    from lake.settings import load_settings

    return Tables(root, load_settings(root, environ={**minio.environ(), "HOME": str(Path.home())}).storage_options())


def read_log(minio: MinioServer, root: str, folder: str) -> list[dict[str, object]]:
    """The ``commitInfo`` of every version, read from the bucket; the versions are contiguous."""
    store = open_store(f"{root}/{folder}", minio.settings)
    names = sorted(o.key for o in store.list("_delta_log") if o.key.endswith(".json"))
    assert names == [f"_delta_log/{version:020}.json" for version in range(len(names))]
    actions = [[json.loads(line) for line in store.get(name).splitlines()] for name in names]
    return [next(action["commitInfo"] for action in lines if "commitInfo" in action) for lines in actions]
