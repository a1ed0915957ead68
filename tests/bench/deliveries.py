"""Recordings made by seed, for parts that need others than the corpus has: sounds of random samples."""

from __future__ import annotations

import random
import struct
from pathlib import Path

HEADER_BYTES = 44
SAMPLE_RATE_HZ = 8_000


def deliver(folder: Path, count: int, seed: int, *, mean_bytes: int, prefix: str = "rec") -> Path:
    """Put ``count`` WAV files into a folder, from a tenth of ``mean_bytes`` to nineteen tenths, spread evenly."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    for number in range(count):
        size_bytes = max(HEADER_BYTES + 2, draw.randint(mean_bytes // 10, 2 * mean_bytes - mean_bytes // 10))
        (folder / f"{prefix}-{number:06}.wav").write_bytes(_wav(draw.randbytes((size_bytes - HEADER_BYTES) // 2 * 2)))
    return folder


def _wav(samples: bytes) -> bytes:
    """One channel of 16 bits."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE_HZ, 2 * SAMPLE_RATE_HZ, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples))
    return struct.pack("<4sI4s", b"RIFF", 36 + len(samples), b"WAVE") + form + data + samples
