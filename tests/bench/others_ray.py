"""Ray Data as its guide has it: read objects as bytes, a batch function over them, Parquet out.

python -m tests.bench.others_ray ANALYSIS SOURCE OUT SESSION     SOURCE and OUT are bucket/prefix, SESSION is a folder
"""

from __future__ import annotations

import os
import sys
from typing import Any
from urllib.parse import urlsplit

import pyarrow.fs
import ray

from tests.bench.compute_contest import analysed


def main() -> None:
    name, source, out, session = sys.argv[1:5]
    assert ray.util.get_node_ip_address() == "127.0.0.1", "Ray's servers would be open to other machines"
    ray.init(include_dashboard=False, num_cpus=2, _temp_dir=session, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    store = pyarrow.fs.S3FileSystem(endpoint_override=endpoint.netloc, scheme=endpoint.scheme)

    def results(batch: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(batch["path"], batch["bytes"], strict=True)
        found = [analysed(name, where, data) or (None, None) for where, data in pairs]
        return {"sha256": [each[0] for each in found], "text": [each[1] for each in found]}

    sounds = ray.data.read_binary_files(source, filesystem=store, include_paths=True)
    sounds.map_batches(results, batch_size=16).write_parquet(out, filesystem=store)
    ray.shutdown()


if __name__ == "__main__":
    main()
