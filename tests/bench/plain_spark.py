"""The script most people write: ``binaryFile`` + pandas UDF + Delta write of the same columns.

python -m tests.bench.plain_spark LIST OUT     prints JSON {records, bytes, seconds, start_s}
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lake.session import build_session
from lake.settings import load_settings

COLUMNS = (
    "sha256 string, size_bytes long, content_type string, media_kind string, container string, codecs string, "
    "duration_s double, width_px int, height_px int, frame_rate_hz double, sample_rate_hz int, channels int, "
    "pages int, error string"
)


def main() -> None:
    import pandas as pd
    from pyspark.sql.functions import col, pandas_udf

    started = time.perf_counter()
    spark = build_session(load_settings(sys.argv[2] + "-settings"), "plain")
    spark.range(1).count()
    start_s = time.perf_counter() - started

    @pandas_udf(COLUMNS)
    def facts(path: pd.Series, content: pd.Series) -> pd.DataFrame:
        import hashlib

        from lake.errors import RecordError
        from lake.media.limits import Limits
        from lake.media.probe import probe
        from lake.media.sniff import sniff

        rows = []
        for name, data in zip(path, content, strict=True):
            sniffed = sniff(data[:65536], size_bytes=len(data), name=name, data=data)
            row = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
            row |= {"content_type": sniffed.content_type, "media_kind": sniffed.media_kind, "error": None}
            technical = None
            try:
                if sniffed.media_kind != "other":
                    technical = probe(sniffed, data, None, len(data), Limits())
            except RecordError as error:
                row["error"] = str(error)
            for name_ in COLUMNS.split(", ")[4:-1]:
                field = name_.split()[0]
                row[field] = getattr(technical, field, None)
            rows.append(row)
        return pd.DataFrame(rows, columns=[c.split()[0] for c in COLUMNS.split(", ")])

    paths = Path(sys.argv[1]).read_text().splitlines()
    started = time.perf_counter()
    frame = spark.read.format("binaryFile").load([f"file:{p}" for p in paths])
    out = frame.select("path", "modificationTime", facts("path", "content").alias("facts")).select(
        "path", "modificationTime", col("facts.*")
    )
    out.write.format("delta").mode("append").save(sys.argv[2])
    seconds = time.perf_counter() - started
    found = spark.read.format("delta").load(sys.argv[2]).selectExpr("count(*)", "sum(size_bytes)").collect()[0]
    print(json.dumps({"records": found[0], "bytes": found[1], "seconds": seconds, "start_s": start_s}))
    spark.stop()


if __name__ == "__main__":
    main()
