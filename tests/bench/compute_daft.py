"""Daft's native runner: read files by URL, a batch function over the bytes, Parquet out.

python -m tests.bench.compute_daft ANALYSIS FOLDER OUT processes|threads     prints JSON {records, digest, looking_s}
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import daft
from daft.functions import download

from tests.bench.compute_contest import analysed, tell


def main() -> None:
    name, folder, out, mode = sys.argv[1:5]

    @daft.cls(use_process=mode == "processes", max_concurrency=2)
    class Results:
        @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=16)
        def of(self, path: Any, content: Any) -> list[str]:
            pairs = zip(path.to_pylist(), content.to_pylist(), strict=True)
            return [json.dumps(analysed(name, where, data)) for where, data in pairs]

    paths = sorted(entry.path for entry in os.scandir(folder))
    frame = daft.from_pydict({"path": paths}).with_column("content", download(daft.col("path")))
    frame.select(Results().of(daft.col("path"), daft.col("content")).alias("found")).write_parquet(out)
    done = time.perf_counter()
    rows = [json.loads(text) for text in daft.read_parquet(f"{out}/*.parquet").to_pydict()["found"]]
    tell([(row[0], row[1]) for row in rows if row], done)


if __name__ == "__main__":
    main()
