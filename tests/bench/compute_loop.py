"""The limit: two processes that read and analyse files in a plain loop and keep the results in memory.

python -m tests.bench.compute_loop ANALYSIS FOLDER     prints JSON {records, seconds, digest}
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import sys

from tests.bench.compute_contest import analysed_path, digest
from tests.bench.process import since_start_s


def main() -> None:
    name, folder = sys.argv[1:3]
    paths = sorted(entry.path for entry in os.scandir(folder))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [each for each in pool.imap_unordered(functools.partial(analysed_path, name), paths, 4) if each]
    seconds = since_start_s()
    print(json.dumps({"records": len(found), "seconds": seconds, "digest": digest(found)}))


if __name__ == "__main__":
    main()
