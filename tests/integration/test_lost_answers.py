"""Each write of a whole run in turn is carried out and its answer lost: the run ends well, with everything once."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from deltalake import write_deltalake

from jobs.context import Job
from lake.catalog.create import create_lake
from lake.engine import Engine
from lake.schema import RUNS
from lake.settings import Settings, load_settings
from lake.store.gc import collect
from lake.store.objects import open_store
from lake.tables import Tables, rows_table
from tests.support.lakes import Lake
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

pytestmark = pytest.mark.timeout(500)

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def lossy(minio: MinioServer) -> Iterator[S3Proxy]:
    with S3Proxy(minio) as proxy:
        yield proxy


def lake_at(minio: MinioServer, endpoint_url: str, root: str, settings: Settings, engine: Engine) -> Lake:
    s3 = minio.settings.model_copy(update={"endpoint_url": endpoint_url})
    here = settings.model_copy(update={"root": root, "s3": s3})
    return Lake(Job(here, Tables(root, here.storage_options()), open_store(root, s3)), engine)


def added_twice(lake: Lake) -> list[str]:
    """Data files that two commits of a table add: a stream over the table reads such a file twice."""
    twice = []
    for name in lake.job.tables.names():
        log = f"{lake.job.tables.folder(name)}/_delta_log"
        commits = [lake.job.store.get(each.key) for each in lake.job.store.list(log) if each.key.endswith(".json")]
        actions = [json.loads(line) for commit in commits for line in commit.splitlines()]
        added = Counter(action["add"]["path"] for action in actions if "add" in action)
        twice += [path for path, times in added.items() if times > 1]
    return twice


def ingest_with_each_answer_lost(
    minio: MinioServer, lossy: S3Proxy, bucket: str, engine: Engine, folder: Path
) -> list[str]:
    """An ingest for each of its writes, in a lake of its own, that loses the answer to this one; which those were."""
    settings = load_settings(f"s3://{bucket}", None)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    contents = len(set(files.values()))
    lost: list[str] = []
    for number in itertools.count(1):
        root = f"s3://{bucket}/run-{number}"
        direct = lake_at(minio, minio.endpoint_url, root, settings, engine)
        create_lake(direct.job.settings, direct.job.tables, direct.job.store)
        lossy.count_anew(lose_answer_to=number)
        report = lake_at(minio, lossy.endpoint_url, root, settings, engine).ingest(folder)
        told = f"after the lost answer to write {number}, {lossy.lost}"
        assert (report["landed"], report["duplicates"], report["quarantined"]) == (contents, len(files) - contents, 0)
        for name, key in {"arrivals": "arrival_id", "assets": "asset_id", "blobs": "sha256", "runs": "state"}.items():
            values = [row[key] for row in direct.rows(name)]
            wanted = {"blobs": contents, "runs": 2}.get(name, len(files))
            assert len(values) == len(set(values)) == wanted, f"{name} {told}"
        assert added_twice(direct) == [], told
        for row in direct.rows("assets"):
            assert direct.read(row["asset_id"]) == files[row["path"]]
        if not lossy.lost:
            return lost
        lost += lossy.lost
    raise AssertionError("unreachable: an ingest has an end")


def test_a_lost_answer_to_any_write_of_an_ingest(
    minio: MinioServer, lossy: S3Proxy, bucket: str, local_engine: Engine, tmp_path: Path
) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"note {number % 5}\n" * 40, encoding="utf-8")
    lost = ingest_with_each_answer_lost(minio, lossy, bucket, local_engine, tmp_path)
    assert [path for path in lost if "/_delta_log/" in path], lost
    assert [path for path in lost if ".pack" in path], lost


@pytest.mark.full
def test_a_lost_answer_to_any_write_of_a_compaction(
    minio: MinioServer, lossy: S3Proxy, bucket: str, local_engine: Engine, tmp_path: Path
) -> None:
    """Two packs become one, compressed; then `gc` takes the old ones, not by the proxy: delta-rs holds Python up."""
    settings = load_settings(f"s3://{bucket}", None)
    lost: list[str] = []
    for number in itertools.count(1):
        root = f"s3://{bucket}/compaction-{number}"
        direct = lake_at(minio, minio.endpoint_url, root, settings, local_engine)
        create_lake(direct.job.settings, direct.job.tables, direct.job.store)
        for delivery in ("a", "b"):
            (tmp_path / delivery).mkdir(exist_ok=True)
            for each in range(4):
                (tmp_path / delivery / f"{each}.txt").write_text(f"note {each} of {delivery}\n" * 200)
            direct.ingest(tmp_path / delivery)
        contents = {row["sha256"]: direct.read(row["asset_id"]) for row in direct.rows("assets")}
        lossy.count_anew(lose_answer_to=number)
        through = lake_at(minio, lossy.endpoint_url, root, settings, local_engine)
        report = through.compact(recompress=True)
        told = f"after the lost answer to write {number}, {lossy.lost}"
        assert (report["blobs_moved"], report["written"], report["damaged"]) == (8, 1, 0), told
        assert collect(direct.job.store, direct.job.tables, datetime.now(UTC) + DAY, timedelta(0)).deleted == 2
        rows = direct.rows("blobs")
        assert Counter(row["sha256"] for row in rows) == Counter(contents.keys()), told
        assert {row["codec"] for row in rows} == {"zstd"}
        assert Counter(row["asset_id"] for row in direct.rows("assets")).most_common(1)[0][1] == 1, told
        assert added_twice(direct) == [], told
        assert {row["sha256"]: direct.read(row["file"]) for row in direct.rows("assets")} == contents
        if not lossy.lost:
            break
        lost += lossy.lost
    assert [path for path in lost if "/_delta_log/" in path and "/blobs/" in path], lost
    assert [path for path in lost if ".pack" in path], lost


@pytest.mark.full
def test_a_lost_answer_to_any_step_of_an_upload_in_parts(
    minio: MinioServer, lossy: S3Proxy, bucket: str, local_engine: Engine, tmp_path: Path, only_uploads: None
) -> None:
    """A pack of several parts, and a large blob that has a key of its own."""
    for number in range(6):
        (tmp_path / f"{number}.bin").write_bytes(random.Random(number).randbytes(1024**2))
    (tmp_path / "large.bin").write_bytes(random.Random(9).randbytes(9 * 1024**2))
    lost = ingest_with_each_answer_lost(minio, lossy, bucket, local_engine, tmp_path)
    for kind in (".pack", "/blobs/"):
        steps = [urlsplit(path).query for path in lost if kind in path]
        for step in ("uploads=", "partNumber=", "uploadId="):
            assert [query for query in steps if query.startswith(step)], f"no {step} of {kind} was lost: {lost}"


@pytest.fixture
def only_uploads(lossy: S3Proxy) -> Iterator[None]:
    """Only what belongs to an upload in parts is counted, and lost."""
    lossy.only = "upload"
    yield
    lossy.only = ""


def test_a_commit_that_does_not_know_itself_is_doubled(
    minio: MinioServer, lossy: S3Proxy, bucket: str, local_engine: Engine
) -> None:
    """The control: delta-rs alone commits its file once more; with the lake's mark it is known again."""
    settings = load_settings(f"s3://{bucket}", None)
    for naive in (True, False):
        root = f"s3://{bucket}/{'naive' if naive else 'marked'}"
        direct = lake_at(minio, minio.endpoint_url, root, settings, local_engine)
        create_lake(direct.job.settings, direct.job.tables, direct.job.store)
        tables = lake_at(minio, lossy.endpoint_url, root, settings, local_engine).job.tables
        rows = rows_table([{"run_id": "one", "state": "running"}], RUNS)
        lossy.count_anew(lose_answer_to=2)
        if naive:
            write_deltalake(tables.open("runs"), rows, mode="append")
        else:
            tables.append("runs", rows)
        assert [path.rsplit("/", 1)[1] for path in lossy.lost] == [f"{1:020}.json"]
        assert len(added_twice(direct)) == naive
        assert len(direct.rows("runs")) == 1
