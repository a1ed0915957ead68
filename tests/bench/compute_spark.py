"""The job most people write: ``binaryFile``, a pandas UDF over the bytes, Parquet out.

python -m tests.bench.compute_spark ANALYSIS FOLDER OUT     prints JSON {records, digest, looking_s}
"""

from __future__ import annotations

import sys
import time

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import col, pandas_udf

from lake.session import build_session
from lake.settings import load_settings
from tests.bench.compute_contest import tell


def main() -> None:
    name, folder, out = sys.argv[1:4]
    spark = build_session(load_settings(f"{out}-settings"), "plain")
    write_results(spark, name, f"file:{folder}", out)
    done = time.perf_counter()
    rows = spark.read.parquet(out).where("sha256 IS NOT NULL").collect()
    tell([(row[0], row[1]) for row in rows], done)
    spark.stop()


def write_results(spark: SparkSession, name: str, source: str, out: str) -> None:
    """Analyse all files of a folder and keep the results."""

    @pandas_udf("sha256 string, text string")
    def results(path: pd.Series, content: pd.Series) -> pd.DataFrame:
        from tests.bench.compute_contest import analysed

        found = [analysed(name, where, data) or (None, None) for where, data in zip(path, content, strict=True)]
        return pd.DataFrame(found, columns=["sha256", "text"])

    frame = spark.read.format("binaryFile").load(source)
    frame.select(results("path", "content").alias("found")).select(col("found.*")).write.parquet(out)


if __name__ == "__main__":
    main()
