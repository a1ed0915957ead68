"""The limit: two processes that read, hash and probe files in a plain loop and store nothing.

python -m tests.bench.bare_loop LIST     one path a line; prints JSON {records, bytes, seconds}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import sys
import time
from pathlib import Path

from lake.errors import RecordError
from lake.media.limits import Limits
from lake.media.probe import probe
from lake.media.sniff import sniff


def one(path: str) -> tuple[str, int, str]:
    data = Path(path).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    sniffed = sniff(data[:65536], size_bytes=len(data), name=path, data=data)
    if sniffed.media_kind != "other":
        with contextlib.suppress(RecordError):
            probe(sniffed, data, None, len(data), Limits())
    return sha256, len(data), sniffed.content_type


def main() -> None:
    paths = Path(sys.argv[1]).read_text().splitlines()
    started = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        rows = list(pool.imap_unordered(one, paths, chunksize=64))
    seconds = time.perf_counter() - started
    print(json.dumps({"records": len(rows), "bytes": sum(r[1] for r in rows), "seconds": seconds}))


if __name__ == "__main__":
    main()
