"""Our ingest into an empty lake, in one process, with the start of the JVM told apart.

python -m tests.bench.lake_ingest FOLDER ROOT ENGINE     prints JSON {records, seconds, start_s, commits, digest}
"""

from __future__ import annotations

import json
import sys
import time

from jobs.cli import Invocation
from jobs.context import Engines, open_job
from jobs.ingest import ingest_source, make_plan
from lake.schema import BRONZE
from tests.bench.contest import digest
from tests.bench.process import since_start_s


def main() -> None:
    folder, root, engine = sys.argv[1:4]
    invocation = Invocation(root=root, json=True)
    job = open_job(invocation)
    start_s = 0.0
    with Engines(job.settings, engine, "bench") as engines:
        if engine == "spark":
            started = time.perf_counter()
            engines.spark().range(1).count()
            start_s = time.perf_counter() - started
        report = ingest_source(job, invocation, make_plan(job, folder, None), engines)
        seconds = since_start_s()
    assets = job.tables.dataset("assets").to_table(columns=["sha256", "size_bytes"])
    contents = zip(assets["sha256"].to_pylist(), assets["size_bytes"].to_pylist(), strict=True)
    document = {
        "records": report["arrivals"],
        "seconds": seconds,
        "start_s": start_s,
        "commits": sum(job.tables.open(name).version() for name in BRONZE),
        "digest": digest(contents),
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
