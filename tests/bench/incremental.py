"""Part ``incremental``: what one new recording in a hundred costs, over a run on all of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from tests.bench import process
from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table

RECORDINGS, NEW = 2_000, 20
TEXT = """`lake analyze` with the analyses of the registry on {recordings:,} files of the corpus, drawn by the seed, on
the local engine. *All* is the first run. Then {new} files come and are landed, one in a hundred, and the same command
runs again; *nothing new* is the command once more. Medians of {repeats} rounds but for the first run."""


def measure(place: Place) -> Section:
    root = place.empty_lake("incremental").settings.root
    sample = sorted(place.sample(RECORDINGS + NEW * place.repeats).iterdir())
    folder = place.scratch / "incremental-in"
    folder.mkdir()
    _deliver(sample[:RECORDINGS], folder)
    ingest(root, folder)
    all_s = _analyzed(root, at_least=RECORDINGS // 2)
    new_s, nothing_s = [], []
    for number in range(place.repeats):
        first = RECORDINGS + NEW * number
        _deliver(sample[first : first + NEW], folder)
        ingest(root, folder)
        new_s.append(_analyzed(root, at_least=1))
        nothing_s.append(_analyzed(root, at_least=0))
    new, nothing = median(new_s), median(nothing_s)
    figures = [
        Figure("1 % new: time over that of all", new / all_s, at_most=0.05),
        Figure("1 % new, less a run that finds nothing: time over that of all", (new - nothing) / all_s, at_most=0.05),
    ]
    rows = [("all", all_s), ("1 % new", new), ("nothing new", nothing)]
    text = TEXT.format(recordings=RECORDINGS, new=NEW, repeats=place.repeats)
    return Section("incremental", "New recordings", text, figures, [table(("run", "s"), rows)])


def _deliver(paths: list[Path], folder: Path) -> None:
    for path in paths:
        shutil.copyfile(path, folder / path.name)


def _analyzed(root: str, *, at_least: int) -> float:
    """Seconds of ``lake analyze`` as a process, which had so many results to make."""
    done = process.run("jobs.cli", "--root", root, "analyze", "--engine", "local", "--json")
    made = sum(counts["done"] + counts["failed"] for counts in done.document["analyses"].values())
    assert made >= at_least and (at_least or not made), f"{made} results"
    return done.wall_s
