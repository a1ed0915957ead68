"""Daft's native runner: read files by URL, a batch function over the bytes, Parquet out.

python -m tests.bench.compute_daft ANALYSIS FOLDER OUT     prints JSON {records, seconds, digest}
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import daft
from daft.functions import download

from tests.bench.compute_contest import analysed, digest
from tests.bench.process import since_start_s


def main() -> None:
    name, folder, out = sys.argv[1:4]

    @daft.cls(use_process=True, max_concurrency=2)
    class Results:
        @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=16)
        def of(self, path: Any, content: Any) -> list[str]:
            pairs = zip(path.to_pylist(), content.to_pylist(), strict=True)
            return [json.dumps(analysed(name, where, data)) for where, data in pairs]

    paths = sorted(entry.path for entry in os.scandir(folder))
    frame = daft.from_pydict({"path": paths}).with_column("content", download(daft.col("path")))
    frame.select(Results().of(daft.col("path"), daft.col("content")).alias("found")).write_parquet(out)
    seconds = since_start_s()
    rows = [json.loads(text) for text in daft.read_parquet(f"{out}/*.parquet").to_pydict()["found"]]
    found = [(row[0], row[1]) for row in rows if row]
    print(json.dumps({"records": len(found), "seconds": seconds, "digest": digest(found)}))


if __name__ == "__main__":
    main()
