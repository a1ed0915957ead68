"""Measure: ``python -m tests.bench [PART…]``. Prints each part's tables and puts them into ``docs``.

A check that fails ends the bench; a goal that is missed is told, with by how much.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from lake.settings import cache_dir
from tests.bench import (
    alternatives,
    cluster_rate,
    compute,
    corpus,
    density,
    engine,
    films,
    growth,
    incremental,
    isolation,
    latency,
    long,
    memory,
    others,
    plan,
    read,
    recompress,
    record,
    report,
    scale,
    speed,
)
from tests.bench.place import Place
from tests.bench.process import REPOSITORY
from tests.support.corpus import is_beside

PARTS = {
    part.__name__.rpartition(".")[2]: part.measure
    for part in (
        *(corpus, density, alternatives, recompress, speed, compute, isolation, films, incremental),
        *(record, cluster_rate, memory, read, latency, engine, others, long, scale, plan, growth),
    )
}
SCALE = ("scale", "plan", "growth")
"""Asked for by name only: half an hour, and 8 GB of rows."""
LONG = "long"
"""Asked for by name only, and done once where nothing else is said: a quarter of an hour, and 8 GB of sounds."""
DEFAULT = tuple(part for part in PARTS if part not in (*SCALE, LONG))
PAGES = (
    report.Page(REPOSITORY / "docs" / "bench.md", report.BENCH_HEAD, (*DEFAULT, LONG)),
    report.Page(REPOSITORY / "docs" / "scale.md", report.SCALE_HEAD, SCALE),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; {', '.join(DEFAULT)} by default"
    )
    parser.add_argument("--repeats", type=int, help=f"how often each time is taken (default 3; {LONG}: 1)")
    parser.add_argument("--no-page", action="store_true", help="leave the documents as they are")
    parser.add_argument("--sizes", default=None, help="rows of the lakes of the part scale (1000000,3000000,10000000)")
    parser.add_argument("--sounds", default=None, help="sounds of the parts others (600) and long (80000)")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {sorted(unknown)[0]!r}: use {', '.join(PARTS)}")
    if not is_beside():
        sys.exit("bench: the shared corpus is not beside this checkout")
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=cache_dir()) as scratch:
        place = Place(Path(scratch), options.repeats or 3)
        if options.sizes:
            place = replace(place, sizes=tuple(int(size) for size in options.sizes.split(",")))
        if options.sounds:
            place = replace(place, sounds=tuple(int(count) for count in options.sounds.split(",")))
        for part in options.parts or DEFAULT:
            started = time.monotonic()
            section = PARTS[part](replace(place, repeats=options.repeats or 1) if part == LONG else place)
            print(section.markdown(), flush=True)
            print(f"bench: {part} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            if not options.no_page:
                report.write(section, next(page for page in PAGES if part in page.parts))


if __name__ == "__main__":
    main()
