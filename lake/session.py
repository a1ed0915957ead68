"""The one place that builds a SparkSession."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lake.jvm.archive import archive_option
from lake.jvm.resolve import jars
from lake.jvm.store_jar import STORE_JAR
from lake.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG_STORE_S3 = "org.perceptionlake.ConditionalLogStore"
LOG_STORE_FILE = "org.perceptionlake.ExclusiveFileLogStore"

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT"), "1")
"""One task is one core: libraries that start a thread per core would start slots × cores of them."""


def build_session(settings: Settings, app_name: str, *, s3: bool | None = None) -> SparkSession:
    """Start Spark with Delta and the lake's commit safety. Runs on the driver; the caller stops it.

    ``s3`` says whether S3A is needed; by default when the root is on S3.
    """
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    builder = SparkSession.builder.appName(app_name).master(settings.spark.master)
    for key, value in spark_conf(settings, s3=settings.is_s3 if s3 is None else s3).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def spark_conf(settings: Settings, *, s3: bool) -> dict[str, str]:
    """All of Spark's settings as one mapping; what a profile says under ``spark.conf`` wins."""
    paths = [str(path) for path in jars(settings.cache_dir, s3)] + [str(STORE_JAR)]
    conf = {
        "spark.jars": ",".join(paths),
        "spark.driver.extraClassPath": os.pathsep.join(paths),
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.extraJavaOptions": _java_options(settings, paths),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1" if settings.spark.master.startswith("local") else "",
        "spark.driver.bindAddress": "127.0.0.1" if settings.spark.master.startswith("local") else "",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.python.worker.reuse": "true",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.commit.idempotencyCheck.enabled": "true",
        "spark.databricks.delta.checkLatestSchemaOnRead": "false",
        "spark.delta.logStore.file.impl": LOG_STORE_FILE,
        "spark.delta.logStore.s3a.impl": LOG_STORE_S3,
        "spark.delta.logStore.s3.impl": LOG_STORE_S3,
        "io.delta.kernel.logStore.s3a.impl": LOG_STORE_S3,
        "spark.sql.warehouse.dir": str(settings.cache_dir / "warehouse"),
        "spark.sql.catalogImplementation": "in-memory",
    }
    conf |= {f"spark.executorEnv.{name}": value for name, value in ONE_THREAD.items()}
    if s3:
        conf |= _s3a(settings)
    return {key: value for key, value in (conf | settings.spark.conf).items() if value != ""}


def _java_options(settings: Settings, paths: list[str]) -> str:
    options = ["-XX:+IgnoreUnrecognizedVMOptions", "-Dlog4j2.level=ERROR"]
    if settings.spark.short_jobs:
        options.append("-XX:TieredStopAtLevel=1")
    return " ".join(options + archive_option(settings.cache_dir, paths))


def _s3a(settings: Settings) -> dict[str, str]:
    """S3A for one endpoint. The performance flag ``create`` is never set: with it commits are lost (DESIGN §5)."""
    s3 = settings.s3
    prefix = "spark.hadoop.fs.s3a."
    return {
        prefix + "endpoint": s3.endpoint_url or "",
        prefix + "endpoint.region": s3.region,
        prefix + "access.key": s3.access_key_id or "",
        prefix + "secret.key": s3.secret or "",
        prefix + "path.style.access": "true",
        prefix + "connection.ssl.enabled": "false" if (s3.endpoint_url or "").startswith("http://") else "true",
        prefix + "create.conditional.enabled": "true",
        prefix + "attempts.maximum": str(s3.max_retries),
        prefix + "connection.establish.timeout": "5s",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    }
