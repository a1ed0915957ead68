"""Part ``compute``: three analyses by the lake, a bare loop, the usual PySpark job and Daft, on the same recordings."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from jobs.cli import Invocation
from jobs.context import open_job
from lake.one_thread import ONE_THREAD
from tests.bench import process
from tests.bench.compute_recordings import recordings
from tests.bench.packages import installed
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table

DAFT = "0.7.26"
DAFT_MODES = ("processes", "threads")
TEXT = """The same pure functions by all: a log-mel summary of audio and the text of documents of the corpus, drawn by a
seed, and a hash of a frame each half second of made films. Each contender is a process of its own, in turn; all must
give the same results before a time is looked at. A time is that of the whole process with its end, less what it took
to compare results. *Marginal* is what one more recording costs, between the two sizes; *fixed* is what is left at none.
The bare loop is two processes that keep their results; the usual job is `binaryFile`, a pandas UDF and Parquet; Daft's
is its native runner, with two processes and with its threads. Recordings were ingested into the lake before.
Medians of {repeats}."""


@dataclass(frozen=True)
class Contest:
    """One analysis on two sizes."""

    analysis: str
    kind: str
    small: int
    large: int


CONTESTS = (
    Contest("log_mel", "audio", 400, 2_400),
    Contest("document_text", "document", 200, 3_000),
    Contest("frame_hash", "video", 16, 400),
)


@dataclass(frozen=True)
class Times:
    """Medians of one contender."""

    small: int
    """Recordings."""
    large: int
    small_s: float
    large_s: float

    @property
    def marginal_s(self) -> float:
        return (self.large_s - self.small_s) / (self.large - self.small)

    @property
    def fixed_s(self) -> float:
        return self.small_s - self.small * self.marginal_s


def daft_packages() -> Path | None:
    return installed("daft", DAFT, f"daft=={DAFT}")


def measure(place: Place) -> Section:
    section = Section("compute", "Compute", TEXT.format(repeats=place.repeats))
    packages = daft_packages()
    rows = []
    for contest in CONTESTS:
        times = _held(place, contest, packages)
        rows += [_row(contest, name, each, times["bare loop"]) for name, each in times.items()]
        section.figures += _figures(contest, times)
    head = ("analysis", "contender", "small, s", "large, s", "marginal, ms", "of the loop's", "fixed, s")
    section.tables.append(table(head, rows))
    return section


def _held(place: Place, contest: Contest, packages: Path | None) -> dict[str, Times]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for count in (contest.small, contest.large):
        folder = recordings(place, contest.kind, count)
        root = place.empty_lake(f"compute-{contest.kind}-{count}").settings.root
        ingest(root, folder)
        drop_unreadable(root, folder)
        runs = contenders(place, contest.analysis, folder, root, packages)
        for _ in range(place.repeats):
            for name, run in runs.items():
                found[name, count].append(run())
        digests = {name: found[name, count][0]["digest"] for name in runs}
        assert len(set(digests.values())) == 1, f"{contest.analysis} of {count}: other results: {digests}"
        shutil.rmtree(root)
    return {name: _times(found[name, contest.small], found[name, contest.large]) for name in runs}


def _times(small: list[dict[str, Any]], large: list[dict[str, Any]]) -> Times:
    seconds = [median(each["seconds"] for each in runs) for runs in (small, large)]
    return Times(small[0]["records"], large[0]["records"], *seconds)


def drop_unreadable(root: str, folder: Path) -> None:
    """What ingest put in quarantine is analysed by nobody."""
    for row in open_job(Invocation(root=root, json=True)).tables.dataset("quarantine").to_table().to_pylist():
        (folder / row["path"]).unlink()


def contenders(
    place: Place, analysis: str, folder: Path, root: str, packages: Path | None
) -> dict[str, Callable[[], dict[str, Any]]]:
    """By name what runs an analysis of a folder's files, which a lake at ``root`` has too: records, seconds, digest."""

    def by_lake(engine: str) -> dict[str, Any]:
        return process.run("tests.bench.compute_lake", analysis, place.copy_of(root), engine).document

    def timed(*arguments: str, environ: dict[str, str] | None) -> dict[str, Any]:
        done = process.run(*arguments, environ=environ)
        return {**done.document, "seconds": done.wall_s - done.document["looking_s"]}

    def with_output(module: str, *options: str, environ: dict[str, str] | None = None) -> dict[str, Any]:
        out = place.scratch / "compute-out"
        shutil.rmtree(out, ignore_errors=True)
        return timed(module, analysis, str(folder), str(out), *options, environ=environ)

    def loop() -> dict[str, Any]:
        # As the lake and Spark have it: two processes with a thread a core each would wait for each other.
        return timed("tests.bench.compute_loop", analysis, str(folder), environ=ONE_THREAD)

    runs: dict[str, Callable[[], dict[str, Any]]] = {
        "bare loop": loop,
        "lake, local": lambda: by_lake("local"),
        "lake, Spark": lambda: by_lake("spark"),
        "plain PySpark": lambda: with_output("tests.bench.compute_spark"),
    }
    if packages is not None:
        path = os.pathsep.join([str(process.REPOSITORY), str(packages)])
        environ = {"PYTHONPATH": path, **ONE_THREAD}
        runs |= {
            f"Daft, {mode}": partial(with_output, "tests.bench.compute_daft", mode, environ=environ)
            for mode in DAFT_MODES
        }
    return runs


def _row(contest: Contest, name: str, times: Times, loop: Times) -> tuple[Any, ...]:
    ratio = times.marginal_s / loop.marginal_s
    figures = (times.small_s, times.large_s, 1000 * times.marginal_s, ratio, times.fixed_s)
    return contest.analysis, name, *(round(figure, 2) for figure in figures)


def daft_figures(said: str, seconds: Mapping[str, float], ours_s: float) -> list[Figure]:
    """What the quicker of Daft's modes takes over what we take; none where Daft did not run."""
    daft = [each for name, each in seconds.items() if name.startswith("Daft")]
    return [Figure(said, min(daft) / ours_s, at_least=1)] if daft else []


def _figures(contest: Contest, times: dict[str, Times]) -> list[Figure]:
    loop, plain = times["bare loop"], times["plain PySpark"]
    figures = []
    for name in ("lake, local", "lake, Spark"):
        ours = times[name]
        said = f"{contest.analysis}, {name}: "
        rate_goal = 2 if contest.analysis == "log_mel" else 1
        figures += [
            Figure(f"{said}marginal time over the loop's", ours.marginal_s / loop.marginal_s, at_most=1.1),
            Figure(f"{said}rate over plain PySpark's", plain.marginal_s / ours.marginal_s, at_least=rate_goal),
            Figure(f"{said}fixed time over plain PySpark's", ours.fixed_s / plain.fixed_s, at_most=0.6),
        ]
        seconds = {other: each.large_s for other, each in times.items()}
        figures += daft_figures(f"{said}Daft's time in its quicker mode over ours, large", seconds, ours.large_s)
    return figures
