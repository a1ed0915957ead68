"""The limit: two processes that read and analyse files in a plain loop and keep the results in memory.

python -m tests.bench.compute_loop ANALYSIS FOLDER     prints JSON {records, digest, looking_s}
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import sys
import time

from tests.bench.compute_contest import analysed_path, tell


def main() -> None:
    name, folder = sys.argv[1:3]
    paths = sorted(entry.path for entry in os.scandir(folder))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = [each for each in pool.imap_unordered(functools.partial(analysed_path, name), paths, 4) if each]
    done = time.perf_counter()
    tell(found, done)


if __name__ == "__main__":
    main()
