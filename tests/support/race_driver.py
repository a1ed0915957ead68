"""One Spark driver of a race, a process of its own: says "ready", waits for a line, and appends.

python -m tests.support.race_driver ROOT TABLE NAME APPENDS
"""

from __future__ import annotations

import sys

from lake.session import build_session
from lake.settings import load_settings
from lake.tables import Tables


def main() -> None:
    root, table, name, appends = sys.argv[1:]
    settings = load_settings(root)
    one_core = settings.spark.model_copy(update={"master": "local[1]", "driver_memory": "512m"})
    spark = build_session(settings.model_copy(update={"spark": one_core}), name)
    uri = Tables(root).uri(table).replace("s3://", "s3a://")
    frames = [spark.createDataFrame([(f"{name}-{n}",)], "id string").coalesce(1) for n in range(int(appends))]
    print("ready", flush=True)
    sys.stdin.readline()
    for frame in frames:
        frame.write.format("delta").mode("append").save(uri)
    print("done", flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
