"""Measure: ``python -m tests.bench [PART…]``. Prints each part's tables and puts them into ``docs/bench.md``.

A check that fails ends the bench; a goal that is missed is told, with by how much.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from lake.settings import cache_dir
from tests.bench import alternatives, corpus, density, latency, memory, read, report, speed
from tests.bench.place import Place
from tests.support.corpus import is_beside

PARTS = {
    part.__name__.rpartition(".")[2]: part.measure
    for part in (corpus, density, alternatives, speed, memory, read, latency)
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them by default")
    parser.add_argument("--repeats", type=int, default=3, help="how often each time is taken (default 3)")
    parser.add_argument("--no-page", action="store_true", help="leave docs/bench.md as it is")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {sorted(unknown)[0]!r}: use {', '.join(PARTS)}")
    if not is_beside():
        sys.exit("bench: the shared corpus is not beside this checkout")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache_dir()) as scratch:
        place = Place(Path(scratch), options.repeats)
        for part in options.parts or PARTS:
            started = time.monotonic()
            section = PARTS[part](place)
            print(section.markdown(), flush=True)
            print(f"bench: {part} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            if not options.no_page:
                report.write(section, tuple(PARTS))


if __name__ == "__main__":
    main()
