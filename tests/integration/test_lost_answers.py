"""Each write of a whole run in turn is carried out and its answer lost: the run ends well, with everything once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.context import Job
from lake.catalog.create import create_lake
from lake.engine import Engine
from lake.settings import Settings
from lake.store.objects import open_store
from lake.tables import Tables
from tests.support.lakes import Lake
from tests.support.minio import MinioServer
from tests.support.proxy import S3Proxy

pytestmark = pytest.mark.timeout(500)


@pytest.fixture(scope="module")
def lossy(minio: MinioServer) -> Iterator[S3Proxy]:
    with S3Proxy(minio) as proxy:
        yield proxy


def lake_at(minio: MinioServer, endpoint_url: str, root: str, settings: Settings, engine: Engine) -> Lake:
    s3 = minio.settings.model_copy(update={"endpoint_url": endpoint_url})
    here = settings.model_copy(update={"root": root, "s3": s3})
    return Lake(Job(here, Tables(root, here.storage_options()), open_store(root, s3)), engine)


def test_a_lost_answer_to_any_write_of_an_ingest(
    minio: MinioServer, lossy: S3Proxy, bucket: str, local_engine: Engine, tmp_path: Path
) -> None:
    from lake.settings import load_settings

    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"note {number % 5}\n" * 40, encoding="utf-8")
    settings = load_settings(f"s3://{bucket}", None)
    lost: list[str] = []
    number = 0
    while True:
        number += 1
        root = f"s3://{bucket}/run-{number}"
        direct = lake_at(minio, minio.endpoint_url, root, settings, local_engine)
        create_lake(direct.job.settings, direct.job.tables, direct.job.store)
        lossy.count_anew(lose_answer_to=number)
        report = lake_at(minio, lossy.endpoint_url, root, settings, local_engine).ingest(folder)
        told = f"after the lost answer to write {number}, {lossy.lost}"
        assert (report["landed"], report["duplicates"], report["quarantined"]) == (5, 1, 0), told
        counts = {name: Counter(row[key] for row in direct.rows(name)) for name, key in KEYS.items()}
        assert {name: (len(found), sum(found.values())) for name, found in counts.items()} == EXPECTED, told
        for row in direct.rows("assets"):
            assert direct.read(row["asset_id"]) == (folder / row["path"]).read_bytes()
        if not lossy.lost:
            break
        lost += lossy.lost
    assert [path for path in lost if "/_delta_log/" in path], lost
    assert [path for path in lost if ".pack" in path], lost


KEYS = {"arrivals": "arrival_id", "assets": "asset_id", "blobs": "sha256", "runs": "state"}
EXPECTED = {"arrivals": (6, 6), "assets": (6, 6), "blobs": (5, 5), "runs": (2, 2)}
