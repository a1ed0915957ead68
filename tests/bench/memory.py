"""Part ``memory``: the peak of driver and workers at ten times as many recordings."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from statistics import median

from lake.analysis.loudness import LOUDNESS
from tests.bench import process
from tests.bench.compute_recordings import recordings
from tests.bench.place import SEED, Place, ingest
from tests.bench.report import Figure, Section, table

FILES, LARGEST = (1_000, 10_000), 20
SOUNDS = (400, 4_000)
TEXT = f"""Peak of the proportional set sizes (shared pages count once) of the whole process tree, sampled twenty times
a second: driver, workers, decoding children, JVM. `ingest` of files of the corpus, and `analyze` with the loudness of
its sounds, landed before; drawn by a seed. Both samples hold the {LARGEST} largest (files below 8 MiB, sounds below
2 MB), so that they differ in number alone. Medians of {{repeats}}."""


def measure(place: Place) -> Section:
    verbs: tuple[tuple[str, tuple[int, int], Callable[[Place, str, int], float], float], ...] = (
        ("ingest", FILES, _ingest_peak_bytes, 1.15),
        ("analyze", SOUNDS, _analyze_peak_bytes, 1.2),
    )
    rows, figures = [], []
    for verb, (few, many), peak_bytes, goal in verbs:
        for engine in ("local", "spark"):
            at_few, at_many = peak_bytes(place, engine, few), peak_bytes(place, engine, many)
            rows.append((verb, engine, few, round(at_few / 1e6), many, round(at_many / 1e6)))
            said = f"peak of {verb} at {many:,} over peak at {few:,} recordings, {engine}"
            figures.append(Figure(said, at_many / at_few, at_most=goal))
    head = ("verb", "engine", "recordings", "MB", "recordings", "MB")
    return Section("memory", "Memory", TEXT.format(repeats=place.repeats), figures, [table(head, rows)])


def _ingest_peak_bytes(place: Place, engine: str, count: int) -> float:
    folder = place.sample(count, largest=LARGEST)
    return median(
        ingest(place.empty_lake("memory").settings.root, folder, engine, sampled=True).peak_bytes
        for _ in range(place.repeats)
    )


def _analyze_peak_bytes(place: Place, engine: str, count: int) -> float:
    folder = _sounds(place, count)
    landed = place.empty_lake("memory-landed").settings.root
    ingest(landed, folder)
    return median(_analyzed_peak_bytes(place, landed, engine) for _ in range(place.repeats))


def _sounds(place: Place, count: int) -> Path:
    """A folder of so many sounds, the largest of all first."""
    folder = place.scratch / f"memory-sounds-{count}"
    if folder.exists():
        return folder
    sounds = sorted(recordings(place, "audio", SOUNDS[1]).iterdir(), key=lambda path: (-path.stat().st_size, path.name))
    folder.mkdir()
    rest = random.Random(SEED).sample(sounds[LARGEST:], count - LARGEST)
    for path in [*sounds[:LARGEST], *rest]:
        (folder / path.name).hardlink_to(path)
    return folder


def _analyzed_peak_bytes(place: Place, landed: str, engine: str) -> float:
    command = ("--root", place.copy_of(landed), "analyze", LOUDNESS.name, "--engine", engine, "--json")
    done = process.run("jobs.cli", *command, sampled=True)
    assert done.document["engine"] == engine
    assert done.document["analyses"][LOUDNESS.name]["done"] > 0
    return done.peak_bytes
