"""The command line of ``lake submit``, on each kind of cluster, as values: nothing is run."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import Invocation, cli
from lake.cluster.resources import Resources, manager_of, resource_conf
from lake.cluster.submission import Shipment, Submission, submission, worker_python
from lake.errors import UsageError
from lake.session import spark_conf
from lake.settings import Settings, load_settings

SECRET = "a-very-secret-key"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET, "HOME": str(Path.home())}
SHIPPED = Shipment(Path("/here/jobs/driver.py"), Path("/cache/lake-1a2b.zip"))
PACKED = Shipment(SHIPPED.launcher, SHIPPED.code, Path("/cache/env.tar.gz"), Path("/cache/conf.zip"))
JOB = ["ingest", "s3://in/2026", "--strict"]
CONF = {
    "spark.executor.memory": "4g",
    "spark.driver.extraClassPath": "/cache/a.jar",
    "spark.driver.extraJavaOptions": "-Dx=/here",
    "spark.sql.warehouse.dir": "/cache/warehouse",
    "spark.pyspark.driver.python": "/here/python",
}


def settings_of(root: str = "s3://bucket/city", **spark: Any) -> Settings:
    settings = load_settings(root, environ=ENVIRONMENT)
    return settings.model_copy(update={"spark": settings.spark.model_copy(update=spark)})


def made(settings: Settings, shipment: Shipment = SHIPPED, job: list[str] = JOB, **environ: str) -> Submission:
    return submission(settings, CONF, "/spark", shipment, job, environ)


def conf_of(command: list[str]) -> dict[str, str]:
    """What a command line sets by ``--conf``."""
    pairs = [word for flag, word in pairwise(command) if flag == "--conf"]
    return dict(pair.split("=", 1) for pair in pairs)


def test_on_standalone_the_driver_is_here_and_the_code_goes_along() -> None:
    found = made(settings_of(master="spark://10.0.0.1:7077"))
    assert found.command == [
        "/spark/bin/spark-submit",
        *("--master", "spark://10.0.0.1:7077"),
        *("--deploy-mode", "client"),
        *("--name", "lake ingest"),
        *("--py-files", "/cache/lake-1a2b.zip"),
        *("--conf", "spark.driver.extraClassPath=/cache/a.jar"),
        *("--conf", "spark.driver.extraJavaOptions=-Dx=/here"),
        *("--conf", "spark.executor.memory=4g"),
        *("--conf", "spark.pyspark.driver.python=/here/python"),
        *("--conf", "spark.sql.warehouse.dir=/cache/warehouse"),
        "/here/jobs/driver.py",
        *("ingest", "s3://in/2026", "--strict"),
    ]
    assert found.environment["LAKE_ROOT"] == "s3://bucket/city"
    assert found.environment["LAKE_PROFILE"] == "local"
    assert Path(found.environment["LAKE_CONF"]).is_absolute()


def test_on_yarn_the_packages_go_along_by_an_archive() -> None:
    found = made(settings_of(master="yarn"), PACKED, HADOOP_CONF_DIR="/etc/hadoop")
    options = found.command[1 : found.command.index("--conf")]
    assert options == [
        *("--master", "yarn", "--deploy-mode", "client", "--name", "lake ingest"),
        *("--py-files", "/cache/lake-1a2b.zip"),
        *("--archives", "/cache/env.tar.gz#environment,/cache/conf.zip#lake-conf"),
    ]


@pytest.mark.parametrize(
    ("master", "prefix"),
    [("yarn", "spark.yarn.appMasterEnv."), ("k8s://https://h:6443", "spark.kubernetes.driverEnv.")],
)
def test_a_driver_in_the_cluster_gets_what_it_has_not(master: str, prefix: str) -> None:
    """Variables by Spark's settings, a script as a file; no path of this machine."""
    settings = settings_of(master=master, deploy_mode="cluster", image="lake:1", keys_from="lake-s3")
    settings = settings.model_copy(
        update={"s3": settings.s3.model_copy(update={"credentials_file": Path("/etc/lake-keys")})}
    )
    found = made(settings, PACKED, ["/here/my report.py", "--month", "3"], HADOOP_CONF_DIR="/etc/hadoop")
    conf = conf_of(found.command)
    assert conf[prefix + "LAKE_ROOT"] == "s3://bucket/city"
    assert conf[prefix + "LAKE_CONF"] == "lake-conf"
    assert found.environment["SPARK_DIST_CLASSPATH"] == "/cache/a.jar"
    assert not {"spark.driver.extraClassPath", "spark.driver.extraJavaOptions"} & set(conf)
    assert not [value for value in conf.values() if value.startswith(("/here", "/cache"))]
    assert found.command[found.command.index("--files") + 1] == "/here/my report.py"
    assert found.command[-4:] == ["/here/jobs/driver.py", "my report.py", "--month", "3"]
    keys = {key: value for key, value in conf.items() if "secretKeyRef" in key}
    assert bool(keys) == (manager_of(master) == "kubernetes")
    if keys:
        assert keys["spark.kubernetes.driver.secretKeyRef.AWS_SECRET_ACCESS_KEY"] == "lake-s3:AWS_SECRET_ACCESS_KEY"


@pytest.mark.parametrize(
    ("master", "deploy_mode", "waits", "ends_in_pod"),
    [
        ("k8s://https://h", "cluster", None, True),
        ("k8s://https://h", "cluster", "true", True),
        ("k8s://https://h", "cluster", "False", False),
        ("k8s://https://h", "client", None, False),
        ("yarn", "cluster", None, False),
        ("spark://h:7077", "client", None, False),
    ],
)
def test_how_a_driver_ended_is_heard_only_of_a_pod_that_is_waited_for(
    master: str, deploy_mode: str, waits: str | None, ends_in_pod: bool
) -> None:
    settings = settings_of(master=master, deploy_mode=deploy_mode, image="lake:1", keys_from="lake-s3")
    settings = settings.model_copy(
        update={"s3": settings.s3.model_copy(update={"credentials_file": Path("/etc/keys")})}
    )
    conf = CONF | ({"spark.kubernetes.submission.waitAppCompletion": waits} if waits else {})
    found = submission(settings, conf, "/spark", PACKED, JOB, {"HADOOP_CONF_DIR": "/etc/hadoop"})
    assert found.ends_in_pod is ends_in_pod


@pytest.mark.parametrize("master", ["local[2]", "spark://h:7077", "yarn", "k8s://https://h:6443"])
def test_no_secret_is_on_the_command_line(master: str) -> None:
    settings = settings_of(master=master, image="lake:1")
    conf = spark_conf(settings, s3=True)
    found = submission(settings, conf, "/spark", PACKED, JOB, {"HADOOP_CONF_DIR": "/etc/hadoop"})
    assert SECRET not in str(found.command) + str(found.environment) + repr(found)
    assert "somebody" not in str(found.command)
    assert found.keys == {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.mark.parametrize(
    ("spark", "root", "said"),
    [
        ({"master": "local[2]", "deploy_mode": "cluster"}, "s3://b", "deploy_mode to client"),
        ({"master": "spark://h:7077", "deploy_mode": "cluster"}, "s3://b", "standalone"),
        ({"master": "yarn"}, "s3://b", "HADOOP_CONF_DIR"),
        ({"master": "k8s://https://h"}, "s3://b", "spark.image"),
        ({"master": "k8s://https://h", "deploy_mode": "cluster", "image": "i"}, "/folder", "folder of this machine"),
        ({"master": "k8s://https://h", "deploy_mode": "cluster", "image": "i"}, "s3://b", "spark.keys_from"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_tried(spark: dict[str, str], root: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as raised:
        made(settings_of(root, **spark))
    assert "\n" not in str(raised.value)


def test_a_driver_in_yarn_needs_keys_on_its_node() -> None:
    with pytest.raises(UsageError, match="credentials_file"):
        made(settings_of(master="yarn", deploy_mode="cluster"), HADOOP_CONF_DIR="/etc/hadoop")


@pytest.mark.parametrize(
    ("spark", "expected"),
    [
        ({"master": "local[2]", "environment": "packed"}, "/here/python"),
        ({"master": "yarn"}, "/here/python"),
        ({"master": "yarn", "environment": "packed"}, "./environment/bin/python"),
        ({"master": "k8s://h", "image": "i"}, "python3"),
        ({"master": "k8s://h", "image": "i", "python": "/opt/python"}, "/opt/python"),
    ],
)
def test_the_python_of_executors(spark: dict[str, str], expected: str) -> None:
    assert worker_python(settings_of(**spark), "/here/python") == expected


def test_each_kind_of_cluster_is_asked_in_its_own_words() -> None:
    asked = Resources(executors=3, cores=4, memory="2g")
    assert asked.slots == 12
    assert resource_conf("local", asked) == {}
    common = {"spark.executor.cores": "4", "spark.executor.memory": "2g"}
    assert resource_conf("standalone", asked) == common | {"spark.cores.max": "12"}
    elsewhere = common | {"spark.executor.instances": "3", "spark.executor.memoryOverhead": "4096m"}
    assert resource_conf("yarn", asked) == resource_conf("kubernetes", asked) == elsewhere
    assert resource_conf("yarn", Resources(overhead_mib=300)) == {"spark.executor.memoryOverhead": "300m"}
    assert resource_conf("standalone", Resources()) == {}
    assert Resources(executors=3).slots is None


def test_gpus_are_asked_of_executors_and_dealt_to_tasks() -> None:
    asked = Resources(executors=3, cores=4, gpus=2, tasks_per_gpu=4, gpu_discovery="/opt/gpus")
    assert asked.gpu_slots == 12  # as many as there are cores
    assert asked.model_copy(update={"tasks_per_gpu": 1}).gpu_slots == 6
    assert Resources(executors=3, cores=4).gpu_slots == 0
    prefix = "spark.executor.resource.gpu."
    for manager, vendor in (("standalone", {}), ("yarn", {}), ("kubernetes", {prefix + "vendor": "nvidia.com"})):
        conf = resource_conf(manager, asked)
        gpus = {key: value for key, value in conf.items() if key.startswith(prefix)}
        assert gpus == {prefix + "amount": "2", prefix + "discoveryScript": "/opt/gpus", **vendor}
    assert not any("gpu" in key for key in resource_conf("yarn", Resources(executors=3)))
    assert resource_conf("local", asked) == {}


@pytest.mark.parametrize("profile", ["local", "cluster", "yarn", "kubernetes"])
def test_the_shipped_profiles_give_a_command_line(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed by ``--dry-run``, as words for a shell and as JSON."""
    monkeypatch.setenv("HADOOP_CONF_DIR", "/etc/hadoop")
    words = ["--profile", profile, "submit", "library", "build", "site_watch", "--dry-run", "--root", "s3://b"]
    printed = CliRunner().invoke(cli, words, obj=Invocation(), catch_exceptions=False)
    told = CliRunner().invoke(cli, words, obj=Invocation(json=True), catch_exceptions=False)
    document = json.loads(told.stdout)
    command = shlex.split(printed.stdout)
    assert [word for word in document["command"] if word != "--json"] == command
    assert command[-3:] == ["library", "build", "site_watch"]
    assert ("--archives" in command) == (profile in ("yarn", "kubernetes"))
    assert ("--py-files" in command) == (profile != "local")
    assert document["environment"]["LAKE_PROFILE"] == profile


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.py"], "no script nothing.py"),
        (["ingst"], "no verb 'ingst'"),
        (["submit", "ingest"], "runs here only"),
    ],
)
def test_a_job_that_is_none(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(cli, ["submit", *words], obj=Invocation(), catch_exceptions=False, standalone_mode=False)


def test_options_after_two_dashes_are_the_jobs(tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text("")
    words = ["submit", str(script), "--dry-run", "--month", "3", "--", "--profile", "its own", "--dry-run"]
    printed = CliRunner().invoke(cli, words, obj=Invocation(), catch_exceptions=False)
    assert shlex.split(printed.stdout)[-6:] == [str(script), "--month", "3", "--profile", "its own", "--dry-run"]
