"""The limit: two processes that read, hash and probe files in a plain loop and store nothing.

python -m tests.bench.bare_loop FOLDER     prints JSON {records, seconds, start_s, commits, digest}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
from pathlib import Path

from lake.errors import RecordError
from lake.media.limits import Limits
from lake.media.probe import probe
from lake.media.sniff import sniff
from tests.bench.contest import digest
from tests.bench.process import since_start_s


def one(path: str) -> tuple[str, int, str]:
    data = Path(path).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    sniffed = sniff(data[:65536], size_bytes=len(data), name=path, data=data)
    if sniffed.media_kind != "other":
        with contextlib.suppress(RecordError):
            probe(sniffed, data, None, len(data), Limits())
    return sha256, len(data), sniffed.content_type


def main() -> None:
    paths = [entry.path for entry in os.scandir(sys.argv[1])]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        rows = list(pool.imap_unordered(one, paths, chunksize=64))
    seconds = since_start_s()
    document = {"records": len(rows), "seconds": seconds, "start_s": 0.0, "commits": 0}
    print(json.dumps({**document, "digest": digest((row[0], row[1]) for row in rows)}))


if __name__ == "__main__":
    main()
