"""The one place that builds a SparkSession."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lake.cluster.code import code_zip
from lake.cluster.packing import environment_archive
from lake.cluster.resources import manager_of, resource_conf
from lake.cluster.submission import ENVIRONMENT, image_conf, worker_python
from lake.errors import PolicyRefused
from lake.jvm.archive import archive_option
from lake.jvm.resolve import jars
from lake.jvm.store_jar import STORE_JAR
from lake.one_thread import ONE_THREAD
from lake.settings import Settings
from lake.store.objects import open_store
from lake.store.probe import require_safe_commits

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOGGING = Path(__file__).with_name("jvm") / "log4j2.properties"
LOG_STORE_S3 = "org.perceptionlake.ConditionalLogStore"
LOG_STORE_FILE = "org.perceptionlake.ExclusiveFileLogStore"

COMMITS = {
    "spark.delta.logStore.file.impl": LOG_STORE_FILE,
    "spark.delta.logStore.s3a.impl": LOG_STORE_S3,
    "spark.delta.logStore.s3.impl": LOG_STORE_S3,
    "spark.hadoop.io.delta.kernel.logStore.s3a.impl": LOG_STORE_S3,
    "spark.hadoop.fs.s3a.create.conditional.enabled": "true",
}
"""What keeps commits safe (DESIGN §5): a profile may set everything but these, see ``unsafe_commits``."""

HARMLESS = ("WARNING: Using incubator modules: ",)
"""Spark's own start option brings it, and no option of Java's turns it off."""

WARNINGS = ("-Xlog:disable", "-Xlog:all=warning,cds*=off:stderr")
"""The JVM warns on standard output, which belongs to the command; an archive it cannot use only costs time."""

TOKEN = "SPARK_CONNECT_AUTHENTICATE_TOKEN"  # noqa: S105  (the name of a variable)
"""The environment variable by which a server takes the token that clients must show."""

SERVES = {
    "spark.plugins": "org.apache.spark.sql.connect.SparkConnectPlugin",
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.connect.grpc.binding.port": "0",
    # Otherwise each client session has Python workers of its own, which take a second to start. Code is not sent here.
    "spark.sql.artifact.isolation.enabled": "false",
}
"""What makes a session a server (Spark Connect) as well: on the loopback, at a free port."""


def build_session(
    settings: Settings, app_name: str, *, s3: bool | None = None, writes: bool = True, serve: bool = False
) -> SparkSession:
    """Start Spark with Delta and the lake's commit safety. Runs on the driver; the caller stops it.

    ``s3`` says whether S3A is needed; by default when the root is on S3. A session that only reads (``writes=False``)
    needs no right to write: the store is not probed. With ``serve`` it is a server, whose token is in ``TOKEN``.

    Raises:
        PolicyRefused: the settings, or the store of the root, would let two writers win one commit.
    """
    from pyspark.sql import SparkSession

    conf = {} if was_submitted() else _start_conf(settings, s3=settings.is_s3 if s3 is None else s3)
    if serve:
        if not os.environ.get(TOKEN):
            raise PolicyRefused(f"a server without a token would run anybody's code: set {TOKEN}")
        conf |= SERVES
    if conf:
        require_safe_conf(conf)
    if settings.is_s3 and writes:
        require_safe_commits(open_store(settings.root, settings.s3))
    if conf:
        os.environ["PYSPARK_PYTHON"], os.environ["PYSPARK_DRIVER_PYTHON"] = conf["spark.pyspark.python"], sys.executable
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    builder = SparkSession.builder.appName(app_name)
    for key, value in conf.items():
        builder = builder.config(key, value)
    _start_jvm(conf)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        # Spark's own files (spark-defaults.conf) may have added settings.
        require_safe_conf(dict(session.sparkContext.getConf().getAll()))
    except PolicyRefused:
        session.stop()
        raise
    _give_keys(session, settings)
    return session


def served(spark: SparkSession) -> tuple[int, str]:
    """Of a server: its port, and a text that changes with its use and ends in ``free`` when no client is attached."""
    name = "org.apache.spark.sql.connect.service.SparkConnectService$"
    service = getattr(getattr(spark.sparkContext._jvm, name), "MODULE$")
    clients = service.sessionManager().listActiveSessions().size()
    busy = service.listActiveExecutions()
    state = "free" if busy.isLeft() and not clients else "used"
    return int(service.localPort()), f"{busy.value() if busy.isLeft() else 'now'} {clients} {state}"


def was_submitted() -> bool:
    """Whether ``spark-submit`` started this driver: its JVM runs already, with all of its settings."""
    return "PYSPARK_GATEWAY_PORT" in os.environ


def _start_conf(settings: Settings, *, s3: bool) -> dict[str, str]:
    """All that a JVM of this process is started with."""
    conf = {"spark.master": settings.spark.master, **spark_conf(settings, s3=s3)}
    if manager_of(settings.spark.master) == "local":
        return conf
    if settings.spark.environment:
        archive = environment_archive(settings.spark.environment, settings.cache_dir / "environments")
        conf["spark.archives"] = f"{archive}#{ENVIRONMENT}"
    if settings.spark.ship_code:
        shipped = [str(code_zip(settings.cache_dir / "code")), conf.get("spark.submit.pyFiles", "")]
        conf["spark.submit.pyFiles"] = ",".join(path for path in shipped if path)
    return conf


def _start_jvm(conf: Mapping[str, str]) -> None:
    """Start the JVM that ``getOrCreate`` then finds. An interrupt waits until it answers: pyspark would leave it."""
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway

    if SparkContext._gateway is not None:  # type: ignore[attr-defined]
        return
    said, tell = os.pipe()
    threading.Thread(target=_pass_on, args=(said,), name="lake-jvm-stderr", daemon=True).start()
    settings = SparkConf().setAll(list(conf.items()))
    try:
        with _interrupts_held():
            gateway = launch_gateway(settings, {"stderr": tell})  # type: ignore[no-untyped-call]
            SparkContext._ensure_initialized(gateway=gateway, conf=settings)
    finally:
        os.close(tell)


def _pass_on(said: int) -> None:
    """What the JVM says on stderr, less what it says at every start and nobody can act on."""
    with os.fdopen(said, errors="replace") as lines:
        for line in lines:
            if not line.startswith(HARMLESS):
                sys.stderr.write(line)
                sys.stderr.flush()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Signals that end a program take effect when the block is done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    for each in before:
        signal.signal(each, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        for number in came[:1]:
            signal.raise_signal(number)


def unsafe_commits(conf: Mapping[str, str]) -> str | None:
    """Which of Spark's settings would let two writers win one commit, and why; None when none would."""
    for key, wanted in COMMITS.items():
        if "logStore" in key and conf.get(key) != wanted:
            return f"{key}={conf.get(key)} loses commits: it must be {wanted}"
    for key, value in conf.items():
        said = value.strip().lower()
        flags = {flag.strip() for flag in said.split(",")}
        if (
            key == "spark.delta.logStore.class"
            or ("fs.s3a." in key and key.endswith(".create.conditional.enabled") and said != "true")
            or ("fs.s3a." in key and key.endswith(".performance.flags") and flags & {"create", "*"})
            or ("fs.s3a." in key and key.endswith(".create.performance") and said != "false")
        ):
            return f"{key}={value} loses commits"
    return None


def require_safe_conf(conf: Mapping[str, str]) -> None:
    """Raise ``PolicyRefused`` where a setting of Spark would lose commits."""
    wrong = unsafe_commits(conf)
    if wrong:
        raise PolicyRefused(f"{wrong}; remove it from spark.conf of the profile (or from Spark's own settings)")


def spark_conf(settings: Settings, *, s3: bool) -> dict[str, str]:
    """All of Spark's settings as one mapping; what a profile says under ``spark.conf`` wins.

    What would lose commits is refused where it is used, not here: ``unsafe_commits``.
    """
    paths = [str(path) for path in jars(settings.cache_dir, s3)] + [str(STORE_JAR)]
    manager = manager_of(settings.spark.master)
    conf = {
        "spark.jars": ",".join(paths),
        "spark.driver.extraClassPath": os.pathsep.join(paths),
        "spark.driver.memory": settings.spark.driver_memory,
        "spark.driver.extraJavaOptions": _java_options(settings, paths),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.host": "127.0.0.1" if manager == "local" else "",
        "spark.driver.bindAddress": "127.0.0.1" if manager == "local" else "",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        "spark.sql.adaptive.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.python.worker.reuse": "true",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension,org.perceptionlake.QueryOnly",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "1",
        "spark.databricks.delta.commit.idempotencyCheck.enabled": "true",
        "spark.databricks.delta.checkLatestSchemaOnRead": "false",
        "spark.sql.warehouse.dir": str(settings.cache_dir.absolute() / "warehouse"),
        "spark.sql.catalogImplementation": "in-memory",
        "spark.pyspark.driver.python": sys.executable,
        "spark.pyspark.python": worker_python(settings, sys.executable),
    }
    conf |= COMMITS | resource_conf(manager, settings.spark.resources) | image_conf(manager, settings.spark.image)
    conf |= {f"spark.executorEnv.{name}": value for name, value in ONE_THREAD.items()}
    if s3:
        conf |= _s3a(settings)
    return {key: value for key, value in (conf | settings.spark.conf).items() if value != ""}


def executor_count(session: SparkSession) -> int:
    """Executors that are registered now; on a local master, none beside the driver."""
    return int(session.sparkContext._jsc.sc().getExecutorMemoryStatus().size()) - 1


def _give_keys(session: SparkSession, settings: Settings) -> None:
    """S3A's keys, given to the running JVM: as settings of its start they would stand in its command line for all."""
    hadoop = session.sparkContext._jsc.hadoopConfiguration()
    for key, value in (("access.key", settings.s3.access_key_id), ("secret.key", settings.s3.secret)):
        if value:
            hadoop.set(f"fs.s3a.{key}", value)


def _java_options(settings: Settings, paths: list[str]) -> str:
    options = ["-XX:+IgnoreUnrecognizedVMOptions", *WARNINGS, f"-Dlog4j2.configurationFile={LOGGING.as_uri()}"]
    if settings.spark.short_jobs:
        # With one compiler the JVM reserves a fifth of its room for code: a run of some minutes fills it, and is
        # interpreted from then on.
        options += ["-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=128m"]
    return " ".join(options + archive_option(settings.cache_dir, paths))


def _s3a(settings: Settings) -> dict[str, str]:
    """S3A for one endpoint. The performance flag ``create`` is never set: with it commits are lost (DESIGN §5)."""
    s3 = settings.s3
    prefix = "spark.hadoop.fs.s3a."
    return {
        prefix + "endpoint": s3.endpoint_url or "",
        prefix + "endpoint.region": s3.region,
        prefix + "path.style.access": "true",
        prefix + "connection.ssl.enabled": "false" if (s3.endpoint_url or "").startswith("http://") else "true",
        prefix + "attempts.maximum": str(s3.max_retries),
        prefix + "connection.establish.timeout": "5s",
        "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
    }
