"""Recordings that density is measured on: objects of random bytes of two kinds, and the corpus's small ones."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.bench.place import PACKED_BYTES, SEED, Place
from tests.support.corpus import whole

OBJECTS_GENERATED = 5_000
EQUAL, DRAWN = "20 KB", "mean 31 KB"


def recording_sets(place: Place) -> dict[str, Path]:
    """Folders of recordings by name; whoever asks removes them."""
    chance = random.Random(SEED)
    equal = [20_000] * OBJECTS_GENERATED
    drawn = [min(PACKED_BYTES - 1, 1 + int(chance.expovariate(1 / 31_000))) for _ in range(OBJECTS_GENERATED)]
    return {
        EQUAL: _generated(place.scratch / "set-20-kb", equal, chance),
        DRAWN: _generated(place.scratch / "set-31-kb", drawn, chance),
        "Corpus": _distinct(place.scratch / "set-corpus"),
    }


def _generated(folder: Path, sizes: Sequence[int], chance: random.Random) -> Path:
    folder.mkdir()
    for number, size_bytes in enumerate(sizes):
        (folder / f"{number:05}.bin").write_bytes(chance.randbytes(size_bytes))
    return folder


def _distinct(folder: Path) -> Path:
    """The corpus's contents below 8 MiB, each once: the others would keep twins twice."""
    folder.mkdir()
    corpus = whole()
    seen: set[str] = set()
    for path, row in corpus.manifest.items():
        source = corpus.folder / os.fsdecode(path)
        if row["sha256"] not in seen and 0 < source.stat().st_size < PACKED_BYTES:
            seen.add(row["sha256"])
            shutil.copyfile(source, folder / f"{len(seen):05}{source.suffix.lower()}")
    return folder
