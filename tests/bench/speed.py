"""Part ``speed``: our ingest against a bare loop and against the script most people write."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import process
from tests.bench.place import Place
from tests.bench.report import Figure, Section, table

SMALL, LARGE = 2_000, 12_000
TEXT = f"""Files of the corpus, drawn by a seed, in one folder: {SMALL:,} and {LARGE:,}. Each contender is a process
of its own, in turn, and all must find the same contents before a time is looked at. A time runs from the start of the
process to its last commit, less the start of the JVM, which is shown apart. *Marginal* is what ten thousand more files
cost; *fixed* is what is left at zero files. The bare loop (two processes) reads, hashes and probes and stores nothing;
the plain script is `binaryFile`, a pandas UDF and a Delta write, on the lake's own session. Medians of {{repeats}}."""


@dataclass(frozen=True)
class Times:
    """Medians of one contender."""

    small_s: float
    large_s: float
    start_s: float
    commits: tuple[int, int]

    @property
    def rate(self) -> float:
        """Files a second, between the two sizes."""
        return (LARGE - SMALL) / (self.large_s - self.small_s)

    @property
    def fixed_s(self) -> float:
        return self.small_s - SMALL / self.rate


def measure(place: Place) -> Section:
    contenders: dict[str, Callable[[Path], dict[str, Any]]] = {
        "bare loop": lambda folder: process.run("tests.bench.bare_loop", str(folder)).document,
        "lake ingest, local": lambda folder: _lake(place, folder, "local"),
        "lake ingest, Spark": lambda folder: _lake(place, folder, "spark"),
        "plain PySpark": lambda folder: _plain(place, folder),
    }
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for count in (SMALL, LARGE):
        folder = place.sample(count)
        for _ in range(place.repeats):
            for name, contender in contenders.items():
                found[name, count].append(contender(folder))
        digests = {each["digest"] for name in contenders for each in found[name, count]}
        assert len(digests) == 1, f"the contenders found different contents in {count} files"
    times = {name: _times(found[name, SMALL], found[name, LARGE]) for name in contenders}
    return Section("speed", "Speed", TEXT.format(repeats=place.repeats), _figures(times), [_table(times)])


def _lake(place: Place, folder: Path, engine: str) -> dict[str, Any]:
    root = place.empty_lake("speed").settings.root
    return process.run("tests.bench.lake_ingest", str(folder), root, engine).document


def _plain(place: Place, folder: Path) -> dict[str, Any]:
    out = place.scratch / "plain"
    shutil.rmtree(out, ignore_errors=True)
    return process.run("tests.bench.plain_spark", str(folder), str(out)).document


def _times(small: list[dict[str, Any]], large: list[dict[str, Any]]) -> Times:
    return Times(
        median(each["seconds"] - each["start_s"] for each in small),
        median(each["seconds"] - each["start_s"] for each in large),
        median(each["start_s"] for each in small + large),
        (small[0]["commits"], large[0]["commits"]),
    )


def _figures(times: dict[str, Times]) -> list[Figure]:
    bare, plain = times["bare loop"], times["plain PySpark"]
    figures = []
    for engine in ("local", "Spark"):
        ours = times[f"lake ingest, {engine}"]
        figures += [
            Figure(f"marginal rate over the bare loop's, {engine}", ours.rate / bare.rate, at_least=0.6),
            Figure(f"marginal rate over plain PySpark's, {engine}", ours.rate / plain.rate, at_least=3.0),
            Figure(f"fixed cost over plain PySpark's, {engine}", ours.fixed_s / plain.fixed_s, at_most=1.5),
        ]
    return figures


def _table(times: dict[str, Times]) -> str:
    head = (f"{SMALL:,} files, s", f"{LARGE:,} files, s", "files/s, marginal", "fixed, s", "JVM start, s", "commits")
    rows = [
        (
            name,
            each.small_s,
            each.large_s,
            round(each.rate),
            each.fixed_s,
            each.start_s,
            " / ".join(map(str, each.commits)),
        )
        for name, each in times.items()
    ]
    return table(("", *head), rows)
