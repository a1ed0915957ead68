"""Part ``long``: an analysis on so many sounds that it takes five minutes, by the lake, a bare loop and Daft."""

from __future__ import annotations

import os
import random
import shutil
import wave
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from lake.settings import cache_dir
from tests.bench.compute import DAFT_MODES, contenders, daft_figures, daft_packages
from tests.bench.place import SEED, Place, ingest
from tests.bench.report import Figure, Section, table
from tests.support.corpus import whole

ANALYSIS, COUNTS = "log_mel", (80_000,)
NAMES = ("bare loop", "lake, local", *(f"Daft, {mode}" for mode in DAFT_MODES))
MOST_BYTES, CHANGED = 2_000_000, 8
TEXT = """The contest of the part `compute` on the log-mel summary once more, on so many sounds that the start is
nothing in it: the corpus's WAV files over and over, a few samples of each changed by a seeded generator, since the lake
analyses equal contents once. Whole processes, start and end included, in turn; all give the same results. Recordings
were ingested into the lake before. Medians of {repeats}."""


def measure(place: Place) -> Section:
    section = Section("long", "Jobs of five minutes", TEXT.format(repeats=place.repeats))
    packages = daft_packages()
    rows: list[tuple[Any, ...]] = []
    for count in place.sounds or COUNTS:
        folder = varied_sounds(count)
        root = place.empty_lake(f"long-{count}").settings.root
        landed = ingest(root, folder).document["landed"]
        assert landed == count, f"{landed} of {count} sounds that were made landed"
        times, records = _held(place, folder, root, packages)
        shutil.rmtree(root)
        ours_s = times["lake, local"]
        rows += [(records, name, round(each, 1), round(ours_s / each, 2)) for name, each in times.items()]
        said = f"{records:,} sounds, lake, local: "
        section.figures.append(Figure(f"{said}time over the bare loop's", ours_s / times["bare loop"], at_most=1.1))
        section.figures += daft_figures(f"{said}Daft's time in its quicker mode over ours", times, ours_s)
    section.tables.append(table(("sounds", "contender", "s", "the lake's time over it"), rows))
    return section


def _held(place: Place, folder: Path, root: str, packages: Path | None) -> tuple[dict[str, float], int]:
    """Median seconds of each contender, and how many sounds were analysed."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    run = contenders(place, ANALYSIS, folder, root, packages)
    for number in range(place.repeats):
        # Forth and back, so that none is always the first after the ingest.
        for name in NAMES[:: -1 if number % 2 else 1]:
            if name in run:
                found[name].append(run[name]())
    results = {(each["records"], each["digest"]) for runs in found.values() for each in runs}
    assert len(results) == 1, f"{ANALYSIS}: other results: {results}"
    times = {name: median(each["seconds"] for each in runs) for name, runs in found.items()}
    return times, next(iter(results))[0]


def varied_sounds(count: int) -> Path:
    """A folder of the cache with so many sounds of distinct content; made once."""
    folder = cache_dir() / f"bench-sounds-{count}"
    if folder.exists():
        return folder
    made = folder.with_name(f"{folder.name}.{os.getpid()}")
    made.mkdir(parents=True)
    chance = random.Random(SEED)
    sources = list(_sources())
    for number in range(count):
        data, samples = sources[number % len(sources)]
        (made / f"{number:06}.wav").write_bytes(_varied(data, samples, chance))
    made.rename(folder)
    return folder


def _sources() -> Iterator[tuple[bytes, range]]:
    """Sounds of the corpus of 16 bit on one track, and where each of their samples is."""
    seen: set[bytes] = set()
    for path in sorted(whole().folder.glob("audio/**/*.wav")):
        data = path.read_bytes() if path.stat().st_size < MOST_BYTES else b""
        if not data or data in seen:
            continue
        seen.add(data)
        with path.open("rb") as file, wave.open(file) as sound:
            if (sound.getnchannels(), sound.getsampwidth()) == (1, 2) and sound.getnframes() > CHANGED:
                start = data.index(b"data") + 8
                yield data, range(start, min(len(data), start + 2 * sound.getnframes()), 2)


def _varied(data: bytes, samples: Sequence[int], chance: random.Random) -> bytes:
    """A sound with the lower byte of some samples drawn anew."""
    varied = bytearray(data)
    for at in chance.sample(samples, CHANGED):
        varied[at] = chance.randrange(256)
    return bytes(varied)
