"""A job as ``spark-submit`` is to run it: one command line and one environment, made from values alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lake.cluster.resources import Manager, manager_of
from lake.errors import UsageError
from lake.settings import Settings

ENVIRONMENT = "environment"
"""Folder that an archive of packages is unpacked to, in the working directory of driver and executors."""
CONF = "lake-conf"
"""Folder of the settings, for a driver in the cluster."""

OF_THIS_MACHINE = (
    "spark.driver.extraClassPath",
    "spark.driver.extraJavaOptions",
    "spark.sql.warehouse.dir",
    "spark.pyspark.driver.python",
)
"""Settings that name paths here: a driver in the cluster has none of them."""

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
WAITS = "spark.kubernetes.submission.waitAppCompletion"
"""Whether Spark's client stays until a driver in a pod has ended; it does by default."""


@dataclass(frozen=True)
class Shipment:
    """The files a job needs."""

    launcher: Path
    """``jobs/driver.py``: what ``spark-submit`` starts."""
    code: Path | None = None
    environment: Path | None = None
    """Packed packages, ``.tar.gz``."""
    conf: Path | None = None
    """The folder of settings as a zip, for a driver in the cluster."""


@dataclass(frozen=True)
class Submission:
    """What is run."""

    command: list[str]
    environment: dict[str, str]
    """Variables of the driver that anyone may see."""
    keys: dict[str, str] = field(default_factory=dict, repr=False)
    """Variables that nobody may: never printed, never on a command line."""
    ends_in_pod: bool = False
    """Whether the driver's exit status is told by what Spark's Kubernetes client logs, and by nothing else."""


def submission(
    settings: Settings,
    conf: Mapping[str, str],
    spark_home: str,
    shipment: Shipment,
    job: Sequence[str],
    environ: Mapping[str, str],
) -> Submission:
    """The command line for a job: a verb with its arguments, or the path of a script with its own.

    ``conf`` is what ``lake.session.spark_conf`` says. Reads nothing but its arguments.

    Raises:
        UsageError: this kind of cluster cannot run the job as the profile wants it.
    """
    manager, in_cluster = manager_of(settings.spark.master), settings.spark.deploy_mode == "cluster"
    _refuse_impossible(settings, manager, environ)
    variables, of_submit = _variables(settings, in_cluster), {"SPARK_HOME": spark_home, "PYTHONSAFEPATH": "1"}
    conf = dict(conf)
    if in_cluster:
        # spark-submit itself uploads to the store, and has no class of it otherwise.
        of_submit["SPARK_DIST_CLASSPATH"] = conf.get("spark.driver.extraClassPath", "")
        conf = {key: value for key, value in conf.items() if key not in OF_THIS_MACHINE}
        conf |= _in_cluster(settings, manager, variables)
    archives = ((shipment.environment, ENVIRONMENT), (shipment.conf, CONF))
    options = {
        "--master": settings.spark.master,
        "--deploy-mode": settings.spark.deploy_mode,
        "--name": f"lake {Path(job[0]).name}",
        "--py-files": str(shipment.code or ""),
        "--files": job[0] if in_cluster and is_script(job[0]) else "",
        "--archives": ",".join(f"{path}#{folder}" for path, folder in archives if path),
    }
    command = [str(Path(spark_home, "bin", "spark-submit"))]
    command += [word for option, value in options.items() if value for word in (option, value)]
    command += [word for key, value in sorted(conf.items()) for word in ("--conf", f"{key}={value}")]
    return Submission(
        [*command, str(shipment.launcher), *(_as_seen_there(job) if in_cluster else job)],
        variables | of_submit,
        _keys(settings),
        ends_in_pod=manager == "kubernetes" and in_cluster and conf.get(WAITS, "true").strip().lower() != "false",
    )


def is_script(job: str) -> bool:
    """Whether a job is a script of the user's and not a verb."""
    return job.endswith(".py")


def _as_seen_there(job: Sequence[str]) -> list[str]:
    """A script is sent along and lies in the working directory of the driver."""
    return [Path(job[0]).name if is_script(job[0]) else job[0], *job[1:]]


def _variables(settings: Settings, in_cluster: bool) -> dict[str, str]:
    """What makes a driver find the same lake."""
    named = {
        "LAKE_ROOT": settings.root,
        "LAKE_PROFILE": settings.profile,
        "LAKE_CONF": CONF if in_cluster else str(settings.conf_dir),
        "LAKE_CACHE": "lake-cache" if in_cluster else str(settings.cache_dir),
        "AWS_ENDPOINT_URL": settings.s3.endpoint_url if settings.is_s3 else None,
        "AWS_REGION": settings.s3.region if settings.is_s3 else None,
    }
    return {name: value for name, value in named.items() if value}


def _keys(settings: Settings) -> dict[str, str]:
    """Keys for the driver here, and for ``spark-submit`` itself, which uploads to the store."""
    values = (settings.s3.access_key_id, settings.s3.secret)
    return {name: value for name, value in zip(KEYS, values, strict=True) if value and settings.is_s3}


def _in_cluster(settings: Settings, manager: Manager, variables: Mapping[str, str]) -> dict[str, str]:
    """Settings of Spark that give a driver in the cluster its variables, and on Kubernetes its keys."""
    prefix = "spark.yarn.appMasterEnv." if manager == "yarn" else "spark.kubernetes.driverEnv."
    conf = {prefix + name: value for name, value in {**variables, "PYTHONSAFEPATH": "1"}.items()}
    if settings.spark.keys_from and manager == "kubernetes":
        conf |= {f"spark.kubernetes.driver.secretKeyRef.{name}": f"{settings.spark.keys_from}:{name}" for name in KEYS}
    return conf


def _refuse_impossible(settings: Settings, manager: Manager, environ: Mapping[str, str]) -> None:
    spark, in_cluster = settings.spark, settings.spark.deploy_mode == "cluster"
    where = f"profile {settings.profile!r}"
    if in_cluster and manager in ("local", "standalone"):
        raise UsageError(f"{where}: a {manager} master runs Python drivers here only: set spark.deploy_mode to client")
    if manager == "yarn" and not (environ.get("HADOOP_CONF_DIR") or environ.get("YARN_CONF_DIR")):
        raise UsageError(f"{where}: YARN is found by HADOOP_CONF_DIR: set it to the folder of the cluster's *-site.xml")
    if manager == "kubernetes" and not spark.image and "spark.kubernetes.container.image" not in spark.conf:
        raise UsageError(f"{where}: Kubernetes runs containers: set spark.image")
    if in_cluster and not settings.is_s3:
        raise UsageError(f"root {settings.root} is a folder of this machine: a driver in the cluster needs s3://…")
    if in_cluster and not (spark.keys_from if manager == "kubernetes" else settings.s3.credentials_file):
        wanted = "spark.keys_from (a Secret)" if manager == "kubernetes" else "s3.credentials_file (on every node)"
        raise UsageError(f"{where}: keys of this machine do not reach a driver in the cluster: set {wanted}")


def worker_python(settings: Settings, here: str) -> str:
    """The Python of executors; ``here`` is that of this process."""
    spark = settings.spark
    if spark.python or manager_of(spark.master) == "local":
        return spark.python or here
    if spark.environment:
        return f"./{ENVIRONMENT}/bin/python"
    return "python3" if spark.image else here


def image_conf(manager: Manager, image: str | None) -> dict[str, str]:
    """Settings that have containers made from an image."""
    if image is None or manager not in ("yarn", "kubernetes"):
        return {}
    if manager == "kubernetes":
        return {"spark.kubernetes.container.image": image}
    runtime = {"YARN_CONTAINER_RUNTIME_TYPE": "docker", "YARN_CONTAINER_RUNTIME_DOCKER_IMAGE": image}
    return {
        f"{prefix}.{name}": value
        for prefix in ("spark.executorEnv", "spark.yarn.appMasterEnv")
        for name, value in runtime.items()
    }


def spark_home(environ: Mapping[str, str] = os.environ) -> str:
    """``SPARK_HOME``, else the Spark that pyspark carries."""
    from lake.jvm.resolve import pyspark_folder

    return environ.get("SPARK_HOME") or str(pyspark_folder())
