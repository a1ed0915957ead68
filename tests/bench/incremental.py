"""Part ``incremental``: what one new recording in a hundred costs, over a run on all of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from tests.bench import process
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table

SIZES = (2_000, 8_000)
TEXT = """`lake analyze` with the analyses of the registry on files of the corpus, drawn by the seed, on the local
engine. *All* is the first run. Then one file in a hundred of them comes and is landed, and the same command runs
again; *nothing new* is the command once more. Medians of {repeats} rounds but for the first run."""


def measure(place: Place) -> Section:
    section = Section("incremental", "New recordings", TEXT.format(repeats=place.repeats))
    rows = []
    for recordings in SIZES:
        all_s, new_s, nothing_s = _held(place, recordings)
        rows.append((recordings, all_s, new_s, nothing_s))
        section.figures.append(
            Figure(f"{recordings:,} files, 1 % new: time over that of all", new_s / all_s, at_most=0.05)
        )
    section.tables.append(table(("files", "all, s", "1 % new, s", "nothing new, s"), rows))
    return section


def _held(place: Place, recordings: int) -> tuple[float, float, float]:
    """Seconds of the run on all, and the medians of those on new ones and on nothing."""
    new = recordings // 100
    root = place.empty_lake(f"incremental-{recordings}").settings.root
    sample = sorted(place.sample(recordings + new * place.repeats).iterdir())
    folder = place.scratch / f"incremental-in-{recordings}"
    folder.mkdir()
    _deliver(sample[:recordings], folder)
    ingest(root, folder)
    all_s = _analyzed(root, at_least=recordings // 2)
    new_s, nothing_s = [], []
    for number in range(place.repeats):
        first = recordings + new * number
        _deliver(sample[first : first + new], folder)
        ingest(root, folder)
        new_s.append(_analyzed(root, at_least=1))
        nothing_s.append(_analyzed(root, at_least=0))
    return all_s, median(new_s), median(nothing_s)


def _deliver(paths: list[Path], folder: Path) -> None:
    for path in paths:
        shutil.copyfile(path, folder / path.name)


def _analyzed(root: str, *, at_least: int) -> float:
    """Seconds of ``lake analyze`` as a process, which had so many results to make."""
    done = process.run("jobs.cli", "--root", root, "analyze", "--engine", "local", "--json")
    made = sum(counts["done"] + counts["failed"] for counts in done.document["analyses"].values())
    assert made >= at_least and (at_least or not made), f"{made} results"
    return done.wall_s
