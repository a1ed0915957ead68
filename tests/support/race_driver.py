"""One Spark driver of a race, a process of its own: appends a row for each line it is given, and says "done".

python -m tests.support.race_driver ROOT TABLE NAME [LOG_STORE]

With a LOG_STORE of Delta's own it is a control: the lake itself refuses to start a session with it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lake.session import build_session, spark_conf
from lake.settings import Settings, load_settings
from lake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def main() -> None:
    root, table, name, *log_store = sys.argv[1:]
    settings = load_settings(root)
    one_core = settings.spark.model_copy(update={"master": "local[1]", "driver_memory": "512m"})
    settings = settings.model_copy(update={"spark": one_core})
    spark = unsafe_session(settings, *log_store) if log_store else build_session(settings, name)
    uri = Tables(root).uri(table).replace("s3://", "s3a://")
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin):
        # A literal, so that no Python worker is started for a row.
        row = spark.sql(f"SELECT '{name}-{number}' AS id")
        row.write.format("delta").mode("append").save(uri)
        print("done", flush=True)
    spark.stop()


def unsafe_session(settings: Settings, log_store: str) -> SparkSession:
    """A session like the lake's, but for the store that commits."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(settings.spark.master)
    for key, value in spark_conf(settings, s3=True).items():
        builder = builder.config(key, log_store if "logStore.s3a" in key else value)
    session = builder.getOrCreate()
    hadoop = session.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.s3a.access.key", str(settings.s3.access_key_id))
    hadoop.set("fs.s3a.secret.key", str(settings.s3.secret))
    return session


if __name__ == "__main__":
    main()
