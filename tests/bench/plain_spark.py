"""The script most people write: ``binaryFile`` + pandas UDF + Delta write of the same columns.

python -m tests.bench.plain_spark FOLDER OUT     prints JSON {records, seconds, start_s, commits, digest}
"""

from __future__ import annotations

import json
import sys
import time

import pandas as pd
from pyspark.sql.functions import col, pandas_udf

from lake.session import build_session
from lake.settings import load_settings
from tests.bench.contest import digest
from tests.bench.process import since_start_s

COLUMNS = (
    "sha256 string, size_bytes long, content_type string, media_kind string, container string, codecs string, "
    "duration_s double, width_px int, height_px int, frame_rate_hz double, sample_rate_hz int, channels int, "
    "pages int, error string"
)


def main() -> None:
    folder, out = sys.argv[1:3]
    started = time.perf_counter()
    spark = build_session(load_settings(f"{out}-settings"), "plain")
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

    frame = spark.read.format("binaryFile").load(f"file:{folder}")
    rows = frame.select("path", "modificationTime", facts("path", "content").alias("facts"))
    rows.select("path", "modificationTime", col("facts.*")).write.format("delta").mode("append").save(out)
    seconds = since_start_s()
    found = [tuple(row) for row in spark.read.format("delta").load(out).select("sha256", "size_bytes").collect()]
    document = {"records": len(found), "seconds": seconds, "start_s": start_s, "commits": 1}
    print(json.dumps({**document, "digest": digest(found)}))
    spark.stop()


if __name__ == "__main__":
    main()
