"""Recordings that analyses are measured on: distinct ones of the corpus, and films that are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.place import Place
from tests.support.analysis_media import avi
from tests.support.corpus import whole

MOST_BYTES = 2_000_000


def recordings(place: Place, kind: str, count: int) -> Path:
    """A flat folder of so many recordings; a smaller set is part of a larger one."""
    folder = place.scratch / f"compute-in-{kind}-{count}"
    if folder.exists():
        return folder
    folder.mkdir()
    if kind == "video":
        for number in range(count):
            (folder / f"{number:05}.avi").write_bytes(avi(moving(number), 25))
        return folder
    seen: set[bytes] = set()
    for path in sorted(whole().folder.glob(f"{kind}/**/*")):
        if len(seen) == count:
            break
        data = path.read_bytes() if path.is_file() and path.stat().st_size < MOST_BYTES else b""
        if data and data not in seen:
            seen.add(data)
            (folder / f"{len(seen):05}{path.suffix.lower()}").write_bytes(data)
    return folder


def moving(number: int) -> list[Any]:
    """Four seconds of blurred noise that moves, another for each number."""
    import cv2

    draw = np.random.default_rng(number)
    ground = cv2.GaussianBlur(draw.integers(0, 255, (240, 320, 3), np.uint8), (0, 0), 6)
    return [np.roll(ground, (frame, 2 * frame), (0, 1)) for frame in range(100)]
