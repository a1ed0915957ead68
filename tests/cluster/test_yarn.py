"""``lake submit`` on a real YARN, a manager and a node: its containers have the zip and installed packages alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml

from lake.cluster.code import code_files, code_hash, zip_name
from lake.engine import Engine
from tests.support.lakes import ROOT, Lake, bucket_lake, command
from tests.support.minio import MinioServer
from tests.support.submitted import SCRIPT, done
from tests.support.yarn import Yarn

pytestmark = [pytest.mark.full, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yarn]:
    with Yarn(tmp_path_factory.mktemp("yarn")) as started:
        yield started


@pytest.fixture
def lake(
    minio: MinioServer, bucket: str, local_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Lake:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.txt").write_text(f"note {number}")
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return bucket_lake(minio, bucket, local_engine, monkeypatch)


def variables(yarn: Yarn, folder: Path, **spark: Any) -> dict[str, str]:
    """Of a user who submits there: the shipped settings, with a small application on Spark's JARs of this machine."""
    conf = folder / "conf"
    shutil.copytree(ROOT / "conf", conf)
    profile = conf / "profiles" / "yarn.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings["spark"] |= {
        "environment": None,
        "python": sys.executable,
        "driver_memory": "512m",
        "resources": {"executors": 1, "cores": 2, "memory": "512m"},
        "conf": {
            "spark.yarn.appMasterEnv.SPARK_LOCAL_IP": "127.0.0.1",
            "spark.executorEnv.SPARK_LOCAL_IP": "127.0.0.1",
            "spark.yarn.jars": f"local:{Path(pyspark.__file__).parent}/jars/*",
            "spark.yarn.stagingDir": f"file://{folder}/staging",
        },
        **spark,
    }
    profile.write_text(yaml.safe_dump(settings))
    return {"LAKE_CONF": str(conf), "HADOOP_CONF_DIR": str(yarn.conf_dir), "SPARK_LOCAL_IP": "127.0.0.1"}


def test_a_verb_runs_there_and_ends_as_it_does(yarn: Yarn, lake: Lake, tmp_path: Path) -> None:
    words = ("submit", "ingest", str(tmp_path / "in"), "--strict", "--json", "--profile", "yarn")
    out, _ = done(command(lake, *words, **variables(yarn, tmp_path)), 5)
    document = json.loads(out)
    assert document["exit"] == 5
    assert (document["result"]["landed"], document["result"]["quarantined"]) == (5, 1)
    assert document["result"]["engine"] == "spark"
    assert yarn.applications()[document["application_id"]][0] == "FINISHED"
    assert len(lake.rows("assets")) == 6


def test_a_script_sees_the_lake_in_containers(yarn: Yarn, lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("WORD = 'from beside'\n")
    script = tmp_path / "own script.py"
    script.write_text(SCRIPT)
    out, _ = done(command(lake, "submit", str(script), "--profile", "yarn", **variables(yarn, tmp_path)), 7)
    answers = [json.loads(line) for line in out.splitlines()]
    assert len(answers) == 8
    assert {answer["code"] for answer in answers} == {code_hash(code_files())}
    # A container has the zip in its working directory.
    assert {answer["lake"] for answer in answers} == {f"./{zip_name(code_files())}/lake/__init__.py"}


def test_a_driver_in_the_cluster_ends_the_command_as_it_ends(yarn: Yarn, lake: Lake, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name}={os.environ[name]}\n" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")))
    found = variables(yarn, tmp_path, deploy_mode="cluster")
    profile = Path(found["LAKE_CONF"]) / "profiles" / "yarn.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings["s3"] = {"credentials_file": str(keys), "endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
    profile.write_text(yaml.safe_dump(settings))
    words = ("submit", "ingest", str(tmp_path / "in"), "--json", "--profile", "yarn")
    out, _ = done(command(lake, *words, **found), 0)
    assert yarn.applications()[json.loads(out)["application_id"]] == ("FINISHED", "SUCCEEDED")
    assert len(lake.rows("assets")) == 6
    # Such a driver leaves 0 or 1, whatever its own status is (docs/decisions/0014).
    words = ("submit", "ingest", str(tmp_path / "nowhere"), "--json", "--profile", "yarn")
    out, said = done(command(lake, *words, **found), 1)
    assert yarn.applications()[json.loads(out)["application_id"]][1] == "FAILED"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said
