"""The warm engine's process: a Spark that serves Spark Connect on the loopback until it is stopped or nobody uses it.

python -m lake.engine.server ROOT PROFILE        started by ``lake engine start`` alone, with a token in its environment
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import psutil

from lake.engine.code import snapshot
from lake.engine.record import Record, began_of, engine_folder, made_of, remove_record, write_record
from lake.errors import LakeError
from lake.one_thread import ONE_THREAD
from lake.remote import connect
from lake.session import TOKEN, build_session, served, spark_conf
from lake.settings import Settings, load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

IDLE_S = 2 * 3600.0
"""An engine that nobody used for so long ends; ``LAKE_ENGINE_IDLE_S`` says otherwise."""
LOOK_EVERY_S = 5.0


def main() -> None:
    """What it fails by is a line of its log that begins with ``lake:``, also after a trace."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        settings = load_settings(sys.argv[1], sys.argv[2])
        try:
            serve(settings, os.environ[TOKEN], ended)
        finally:
            remove_record(settings, os.getpid())
    except LakeError as error:
        sys.exit(f"lake: {error}")
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"lake: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    """An error of any library in 300 characters: where Java raised it, what Java said and not what was called."""
    lines = [line for line in str(error).splitlines() if not line.startswith("An error occurred while calling ")]
    return f"{type(error).__name__}: {(lines or [''])[0].removeprefix(': ')}"[:300]


def serve(settings: Settings, token: str, ended: threading.Event) -> None:
    """Start Spark, warm it, write the record, and wait for the end."""
    folder = engine_folder(settings)
    code = snapshot(folder)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(code), os.environ.get("PYTHONPATH"))))
    os.environ.update(ONE_THREAD)
    conf = spark_conf(settings, s3=settings.is_s3)
    made = made_of(settings, conf, sys.executable, token)
    made = replace(made, code=code.name.removeprefix("code-"))
    spark = build_session(settings, "lake engine", serve=True)
    try:
        port, _ = served(spark)
        warm(f"sc://localhost:{port}/;token={token}")
        me = os.getpid()
        write_record(settings, Record(me, began_of(me), psutil.Process(me).create_time(), port, token, made))
        _wait(spark, ended, float(os.environ.get("LAKE_ENGINE_IDLE_S", IDLE_S)))
    finally:
        with contextlib.suppress(Exception):  # its JVM may be gone
            spark.stop()


def warm(url: str) -> None:
    """Run what every verb runs once, as a verb would: compilers and workers are warm when the first one comes."""
    from lake.engine.spark import SparkEngine

    with connect(url) as spark, tempfile.TemporaryDirectory() as scratch:
        for _ in range(2):
            list(SparkEngine(spark, 2).run([b"", b""], imports))
        table = f"{scratch}/t"
        spark.range(10).selectExpr("id", "id % 3 AS part").write.format("delta").save(table)
        spark.read.format("delta").load(table).createOrReplaceTempView("t")
        spark.sql("SELECT part, count(*) AS n FROM t GROUP BY part ORDER BY n").toArrow()


def imports(task: bytes) -> Iterator[bytes]:
    """A task that does nothing: what tasks need is imported by then. Runs on the executor."""
    import lake.analysis.worker
    import lake.ingest.worker  # noqa: F401

    yield task


def _wait(spark: SparkSession, ended: threading.Event, idle_s: float) -> None:
    """Until the engine is told to end, Spark is gone, or nothing was asked of it for so long."""
    used, seen = time.monotonic(), ""
    while not ended.wait(LOOK_EVERY_S):
        try:
            _, state = served(spark)
        except Exception:
            return  # the JVM is gone
        if state != seen:
            used, seen = time.monotonic(), state
        if state.endswith("free") and time.monotonic() - used > idle_s:
            return


if __name__ == "__main__":
    main()
