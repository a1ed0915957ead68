"""``lake submit`` to YARN and Kubernetes, of which there is none here: Spark's own client takes the command line as far
as the address where nobody answers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from lake.engine import Engine
from tests.support.lakes import ROOT, bucket_lake, command
from tests.support.minio import MinioServer

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]

NOBODY = "127.0.0.1:1"
YARN_SITE = """<configuration>
<property><name>yarn.resourcemanager.address</name><value>127.0.0.1:1</value></property>
<property><name>yarn.resourcemanager.connect.max-wait.ms</name><value>1000</value></property>
<property><name>yarn.resourcemanager.connect.retry-interval.ms</name><value>500</value></property>
<property><name>ipc.client.connect.max.retries</name><value>1</value></property>
</configuration>"""


def profile(place: Path, name: str, **spark: object) -> Path:
    """The shipped settings with one profile changed."""
    shutil.copytree(ROOT / "conf", place)
    path = place / "profiles" / f"{name}.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(settings | {"spark": settings["spark"] | spark}))
    return place


def test_kubernetes_gets_every_file_and_then_there_is_no_cluster(
    minio: MinioServer, bucket: str, local_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lake = bucket_lake(minio, bucket, local_engine, monkeypatch)
    conf = profile(
        tmp_path / "conf",
        "kubernetes",
        master=f"k8s://https://{NOBODY}",
        conf={"spark.kubernetes.file.upload.path": f"s3a://{bucket}/submitted"},
    )
    script = tmp_path / "own.py"
    script.write_text("")
    process = command(lake, "submit", str(script), "--profile", "kubernetes", LAKE_CONF=str(conf))
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert f"Connection refused: /{NOBODY}" in said
    assert minio.environ()["AWS_SECRET_ACCESS_KEY"] not in said
    objects = minio.client.list_objects(bucket_name=bucket, prefix="submitted/", recursive=True)
    sent = {Path(str(found.object_name)).name for found in objects}
    assert {"driver.py", "own.py", "lake-logstore.jar"} <= sent
    assert len([name for name in sent if name.startswith("perception-lake-")]) == 1
    assert len([name for name in sent if name.startswith("conf-")]) == 1


def test_yarn_is_asked_and_does_not_answer(
    minio: MinioServer, bucket: str, local_engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lake = bucket_lake(minio, bucket, local_engine, monkeypatch)
    conf = profile(tmp_path / "conf", "yarn", environment=None)
    (tmp_path / "yarn-site.xml").write_text(YARN_SITE)
    script = tmp_path / "own.py"
    script.write_text("from pyspark.sql import SparkSession\nSparkSession.builder.getOrCreate()\n")
    environment = {"LAKE_CONF": str(conf), "HADOOP_CONF_DIR": str(tmp_path)}
    process = command(lake, "submit", str(script), "--profile", "yarn", **environment)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "org.apache.spark.deploy.yarn.Client" in said
    assert "failed on connection exception" in said
    assert minio.environ()["AWS_SECRET_ACCESS_KEY"] not in said
