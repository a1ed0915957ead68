"""Part ``memory``: the peak of driver and workers at ten times as many recordings."""

from __future__ import annotations

from statistics import median

from tests.bench.place import Place, ingest
from tests.bench.report import Figure, Section, table

FEW, MANY, LARGEST = 1_000, 10_000, 20
TEXT = f"""Peak of the proportional set sizes (shared pages count once) of the whole process tree, sampled twenty times
a second: driver, workers, decoding children, JVM. Files of the corpus drawn by a seed; both samples hold its {LARGEST}
largest below 8 MiB, so that they differ in number alone. Medians of {{repeats}}."""


def measure(place: Place) -> Section:
    rows, figures = [], []
    for engine in ("local", "spark"):
        few, many = (_peak_bytes(place, engine, count) for count in (FEW, MANY))
        rows.append((engine, round(few / 1e6), round(many / 1e6)))
        figures.append(Figure(f"peak at {MANY:,} over peak at {FEW:,} recordings, {engine}", many / few, at_most=1.15))
    head = ("engine", f"MB at {FEW:,}", f"MB at {MANY:,}")
    return Section("memory", "Memory", TEXT.format(repeats=place.repeats), figures, [table(head, rows)])


def _peak_bytes(place: Place, engine: str, count: int) -> float:
    folder = place.sample(count, largest=LARGEST)
    peaks = []
    for _ in range(place.repeats):
        root = place.empty_lake("memory").settings.root
        peaks.append(ingest(root, folder, engine, sampled=True).peak_bytes)
    return median(peaks)
