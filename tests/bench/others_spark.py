"""The job of ``compute_spark`` on objects: ``binaryFile`` over S3A, a pandas UDF over the bytes, Parquet out.

python -m tests.bench.others_spark ANALYSIS SOURCE OUT SETTINGS     SOURCE and OUT are bucket/prefix
"""

from __future__ import annotations

import sys

from lake.session import build_session
from lake.settings import load_settings
from tests.bench.compute_spark import write_results


def main() -> None:
    name, source, out, settings = sys.argv[1:5]
    # The root is a folder, so that nothing of the lake asks the store; S3A is told of it by the environment.
    spark = build_session(load_settings(settings), "plain", s3=True)
    write_results(spark, name, f"s3a://{source}", f"s3a://{out}")
    spark.stop()


if __name__ == "__main__":
    main()
