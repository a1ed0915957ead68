"""WAV files of every shape, made of chunks."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT = bytes.fromhex("0100000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def fmt(channels: int = 1, rate_hz: int = 16_000, bits: int = 16, tag: int = PCM) -> bytes:
    align = channels * bits // 8
    body = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * align, align, bits)
    return chunk(b"fmt ", body + (struct.pack("<HHI", 22, bits, 0) + SUBFORMAT if tag == EXTENSIBLE else b""))


def riff(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def hum(samples: int, channels: int = 1, bits: int = 16, seed: int = 0) -> bytes:
    """Interleaved samples of a hum with some noise, as the chunk ``data`` holds them."""
    draw = np.random.default_rng(seed)
    time = np.arange(samples)[:, None] / 16_000
    tones = 0.4 * np.sin(2 * np.pi * 220 * (1 + np.arange(channels)) * time) + draw.normal(
        0, 0.003, (samples, channels)
    )
    return _packed(np.clip(tones, -1, 1), bits)


def _packed(values: NDArray[np.float64], bits: int) -> bytes:
    if bits == 8:
        return np.round(values * 127 + 128).astype(np.uint8).tobytes()
    whole = np.round(values * ((1 << (bits - 1)) - 1)).astype("<i4")
    return whole.reshape(-1).view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
