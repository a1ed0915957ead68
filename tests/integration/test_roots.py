"""The same recordings into a folder and into MinIO give the same rows and bytes; what is wrong is one clear line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lake.engine import Engine
from tests.integration.test_crash import source, state
from tests.support.lakes import Lake, new_lake
from tests.support.minio import MinioServer

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def s3_environment(minio: MinioServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The standard variables, set for this process and given for others."""
    variables = {
        "AWS_ENDPOINT_URL": minio.endpoint_url,
        "AWS_ACCESS_KEY_ID": minio.access_key_id,
        "AWS_SECRET_ACCESS_KEY": minio.secret_access_key,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return {**os.environ, **variables}


def lake_command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "jobs.cli", *arguments]
    paths = {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, env={**environment, **paths}, capture_output=True, text=True, check=False)


def test_a_folder_and_minio_hold_the_same(
    tmp_path: Path, local_engine: Engine, s3_environment: dict[str, str], bucket: str
) -> None:
    folder = source(tmp_path / "in")
    states = []
    for root in (str(tmp_path / "lake"), f"s3://{bucket}/city"):
        lake = new_lake(root, local_engine)
        report = lake.ingest(folder)
        assert report["arrivals"] == report["landed"] + report["duplicates"] + report["quarantined"]
        lake.analyze("document_text", "loudness")
        states.append(state(lake))
        for row in lake.rows("assets"):
            assert lake.read(row["asset_id"]) == (folder / row["path"]).read_bytes()
        assert lake.ingest(folder)["arrivals"] == 0
    assert states[0] == states[1]


def test_a_bucket_is_a_source_too(
    tmp_path: Path, local_lake: Lake, minio: MinioServer, bucket: str, s3_environment: dict[str, str]
) -> None:
    from lake.settings import load_settings
    from lake.store.objects import open_store

    store = open_store(f"s3://{bucket}", load_settings(f"s3://{bucket}").s3)
    for number in range(5):
        store.put(f"cam/{number}.txt", f"content {number}".encode())
    report = local_lake.ingest(f"s3://{bucket}/cam")
    assert (report["landed"], report["quarantined"]) == (5, 0)
    assert local_lake.ingest(f"s3://{bucket}/cam")["arrivals"] == 0
    store.put("cam/3.txt", b"other content")
    assert local_lake.ingest(f"s3://{bucket}/cam")["landed"] == 1


def test_the_command_on_minio(tmp_path: Path, s3_environment: dict[str, str], bucket: str) -> None:
    (tmp_path / "a.txt").write_text("hello")
    root = f"s3://{bucket}/fresh"
    created = lake_command(s3_environment, "--root", root, "init", "--json")
    assert created.returncode == 0, created.stderr
    landed = lake_command(s3_environment, "--root", root, "ingest", str(tmp_path), "--json")
    assert json.loads(landed.stdout)["landed"] == 1
    rows = json.loads(lake_command(s3_environment, "--root", root, "sql", "SELECT * FROM assets", "--json").stdout)
    asset = rows["rows"][0]["asset_id"]
    assert lake_command(s3_environment, "--root", root, "cat", asset).stdout == "hello"
    stat = json.loads(lake_command(s3_environment, "--root", root, "store", "stat", "--json").stdout)
    assert (stat["blobs"], stat["missing_objects"]) == (1, 0)
    assert s3_environment["AWS_SECRET_ACCESS_KEY"] not in landed.stderr + landed.stdout


@pytest.mark.parametrize(
    ("changed", "root", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong-wrong-wrong"}, None, "keys"),
        ({"AWS_ACCESS_KEY_ID": "nobody-knows-me"}, None, "keys"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, None, "endpoint"),
        ({}, "s3://no-such-bucket-anywhere/x", "bucket"),
        ({}, "ftp://somewhere", "s3://bucket/prefix"),
        ({}, "/proc/nowhere/lake", "/proc/nowhere/lake"),
    ],
)
@pytest.mark.parametrize("verb", [["ingest", "."], ["sql", "SELECT 1 FROM assets"]])
def test_what_is_wrong_is_one_line(
    s3_environment: dict[str, str], bucket: str, changed: dict[str, str], root: str | None, said: str, verb: list[str]
) -> None:
    where = root or f"s3://{bucket}/x"
    done = lake_command({**s3_environment, **changed}, "--root", where, *verb)
    assert done.returncode in (1, 2), (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert said in lines[0]
    secret: Any = s3_environment["AWS_SECRET_ACCESS_KEY"]
    assert secret not in done.stderr
