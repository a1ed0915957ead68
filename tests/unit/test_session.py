"""Spark's settings as one mapping, without Spark: S3A, secrets, profiles, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lake.errors import PolicyRefused
from lake.session import COMMITS, LOG_STORE_FILE, LOG_STORE_S3, build_session, require_safe_conf, spark_conf
from lake.settings import Settings, load_settings

SECRET = "a-very-secret-key"
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "eu-north-1",
    "HOME": str(Path.home()),
}


def settings_of(conf: dict[str, str] | None = None, root: str = "s3://bucket/city", **spark: object) -> Settings:
    """Settings of a profile that says this about Spark."""
    settings = load_settings(root, environ=ENVIRONMENT)
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"conf": conf or {}, **spark})})


def test_s3a_is_set_for_the_endpoint() -> None:
    conf = spark_conf(settings_of(), s3=True)
    said = {key.removeprefix("spark.hadoop.fs.s3a."): value for key, value in conf.items() if "fs.s3a." in key}
    assert said["endpoint"] == "http://127.0.0.1:9000"
    assert said["endpoint.region"] == "eu-north-1"
    assert said["path.style.access"] == "true"
    assert said["connection.ssl.enabled"] == "false"
    assert said["create.conditional.enabled"] == "true"
    assert any("hadoop-aws" in path for path in conf["spark.jars"].split(","))


def test_a_folder_root_gets_no_s3() -> None:
    conf = spark_conf(settings_of(root="/some/folder"), s3=False)
    assert not [key for key in conf if "fs.s3a." in key and key not in COMMITS]
    assert not [path for path in conf["spark.jars"].split(",") if "hadoop-aws" in path]


def test_commits_go_through_the_lakes_log_stores() -> None:
    conf = spark_conf(settings_of(), s3=True)
    assert conf["spark.delta.logStore.s3a.impl"] == conf["spark.delta.logStore.s3.impl"] == LOG_STORE_S3
    assert conf["spark.hadoop.io.delta.kernel.logStore.s3a.impl"] == LOG_STORE_S3
    assert conf["spark.delta.logStore.file.impl"] == LOG_STORE_FILE
    assert conf["spark.databricks.delta.commit.idempotencyCheck.enabled"] == "true"
    assert not [key for key in conf if key.endswith("performance.flags")]


def test_no_secret_stands_in_what_the_jvm_is_started_with() -> None:
    settings = settings_of()
    assert SECRET not in str(spark_conf(settings, s3=True))
    assert SECRET not in repr(settings) + str(settings)
    with pytest.raises(PolicyRefused) as refused:
        build_session(settings_of({"spark.hadoop.fs.s3a.performance.flags": "create"}), "test")
    assert SECRET not in str(refused.value)


def test_a_profile_wins() -> None:
    conf = spark_conf(
        settings_of({"spark.sql.shuffle.partitions": "7", "spark.custom": "x", "spark.python.worker.reuse": "false"}),
        s3=True,
    )
    assert conf["spark.sql.shuffle.partitions"] == "7"
    assert conf["spark.custom"] == "x"
    assert conf["spark.python.worker.reuse"] == "false"
    require_safe_conf(conf)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.hadoop.fs.s3a.performance.flags", "create"),
        ("spark.hadoop.fs.s3a.performance.flags", "delete, Create"),
        ("spark.hadoop.fs.s3a.performance.flags", "*"),
        ("spark.hadoop.fs.s3a.bucket.city.performance.flags", "create,mkdir"),
        ("fs.s3a.performance.flags", "create"),
        ("spark.hadoop.fs.s3a.create.performance", "true"),
        ("spark.hadoop.fs.s3a.create.conditional.enabled", "false"),
        ("spark.hadoop.fs.s3a.bucket.city.create.conditional.enabled", "FALSE"),
        ("spark.delta.logStore.s3a.impl", "io.delta.storage.S3SingleDriverLogStore"),
        ("spark.delta.logStore.s3.impl", "io.delta.storage.S3SingleDriverLogStore"),
        ("spark.delta.logStore.s3a.impl", ""),
        ("spark.delta.logStore.file.impl", "io.delta.storage.LocalLogStore"),
        ("spark.hadoop.io.delta.kernel.logStore.s3a.impl", "io.delta.storage.S3SingleDriverLogStore"),
        ("spark.delta.logStore.class", "org.apache.spark.sql.delta.storage.HDFSLogStore"),
    ],
)
def test_what_loses_commits_is_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(PolicyRefused, match=re.escape(key)) as refused:
        build_session(settings_of({key: value}), "test")
    assert refused.value.exit_status == 4
    assert "profile" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.hadoop.fs.s3a.performance.flags", "delete,mkdir"),
        ("spark.hadoop.fs.s3a.create.conditional.enabled", "True"),
        ("spark.hadoop.fs.s3a.create.performance", "false"),
    ],
)
def test_what_loses_nothing_is_not_refused(key: str, value: str) -> None:
    conf = spark_conf(settings_of({key: value}), s3=True)
    assert conf[key] == value
    require_safe_conf(conf)


def test_a_local_session_listens_on_the_loopback_only() -> None:
    conf = spark_conf(settings_of(), s3=False)
    assert conf["spark.driver.host"] == conf["spark.driver.bindAddress"] == "127.0.0.1"
    assert conf["spark.ui.enabled"] == "false"
    cluster = spark_conf(settings_of(master="spark://10.0.0.1:7077"), s3=False)
    assert "spark.driver.host" not in cluster
    assert "spark.driver.bindAddress" not in cluster


def test_the_quick_compiler_is_for_short_jobs_only() -> None:
    short = spark_conf(settings_of(short_jobs=True), s3=False)
    long = spark_conf(settings_of(short_jobs=False), s3=False)
    assert "TieredStopAtLevel=1" in short["spark.driver.extraJavaOptions"]
    assert "TieredStopAtLevel" not in long["spark.driver.extraJavaOptions"]
